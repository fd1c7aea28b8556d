"""The scenes of a clip, encoded side by side, and kept on disk until the whole clip is done.

Each is a file: a line of JSON, then its packets one after the other.  Its name has a digest of all that its bytes
depend on, so that a run with `--resume` finds what a killed one has completed.
"""

import hashlib
import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

from common.core.errors import UserError
from common.core.files import atomic_write, file_stamp
from common.core.parallel import parallel_map
from common.core.stopping import discard, kept
from common.encoding import scenes
from common.encoding.codecs import Encoder
from common.encoding.matching import SAMPLE, Sample, describe_mapping
from common.media.ffmpeg_process import watch_kills


class EncodedScene(NamedTuple):
    """A scene that is encoded.

    Attributes:
        row: "start" and "end", its frames, both included; "qp"; "value", the encoder's setting; "mapping", how it was
            found.
        sizes: Its bytes with each of its settings, the first and the last of which may be one.
        file: Holds its packets.
    """

    row: dict[str, Any]
    sizes: list[int]
    file: Path

    def packets(self, tick: Fraction) -> Iterator[av.Packet]:
        """Yield its packets, in the order of coding.  tick: The unit of the clip's times."""
        with open(self.file, "rb") as opened:
            for time, is_keyframe, size in json.loads(opened.readline())["packets"]:
                packet = av.Packet(opened.read(size))
                packet.pts, packet.time_base, packet.is_keyframe = time, tick, is_keyframe
                yield packet


def encode_scenes(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    qps: list[list[int]],
    flags: int,
    folder: Path,
    jobs: int,
    progress: Callable[[int], object],
) -> list[EncodedScene]:
    """Encode the scenes of a clip, each into a file in `folder`, unless it is there, and return them in order.

    Each job has a decoder, and passes over the frames of the scenes of others, so that few frames are in memory.

    Args:
        qps: Of each scene: its own, and others at which only its bytes are counted.
        flags: Of the encoders.
        jobs: How many scenes are encoded at a time; the files do not depend on it.
        progress: Called with a number of frames that are done.
    """
    task, mine = f"encoding {clip.path} in {encoder.title}", threading.local()
    failed, killed = threading.Event(), watch_kills()

    def alive() -> None:
        killed()
        if failed.is_set():
            raise UserError("stopped")

    def advance() -> None:
        alive()
        progress(1)

    def encode(index: int) -> EncodedScene:
        (first, last), due = clip.scenes[index], qps[index]
        depends = clip._replace(times=clip.times[first : last + 1], scenes=[(first, last)])
        options = encoder.options(encoder.settings[0], clip.rate)
        depends = (depends, file_stamp(clip.path), encoder.library, options, due, flags, av.library_versions)
        file = folder / f"{first}-{last} {hashlib.sha256(repr(depends).encode()).hexdigest()[:16]}.scene"
        if file.exists():
            progress(last - first + 1)
        else:
            mine.reader = getattr(mine, "reader", None) or scenes.SceneReader(clip, task, advance)
            frames, settings, mapping = mine.reader.read(first, last), due, ""
            if encoder.parameter != "qp":
                window = range(first, min(first + SAMPLE, last + 1))
                sample = Sample(clip, [window], frames, alive, folder.parent)
                matches = [sample.match(encoder, qp) for qp in due]
                settings = [value for value, _, _ in matches]
                mapping = describe_mapping(*matches[0][1:], due[0], f" on frames {first} to {window[-1]}")
                frames = itertools.chain(sample.frames(), frames)
            row = {"start": first, "end": last, "qp": due[0], "value": settings[0], "mapping": mapping}
            encoders = [scenes.SceneEncoder(clip, encoder, value, flags) for value in dict.fromkeys(settings)]
            _encode(frames, encoders, row, file)
        kept[folder] = f"the complete scenes in {folder}, --resume goes on with them"
        with open(file, "rb") as opened:
            head = json.loads(opened.readline())
        return EncodedScene(head["row"], head["sizes"], file)

    return parallel_map(encode, range(len(clip.scenes)), jobs, None, failed.set)


def forget_scenes(folder: Path) -> None:
    """Remove the encoded scenes in a folder."""
    discard(folder)
    kept.pop(folder, None)


def _encode(
    frames: Iterable[scenes.Frame], encoders: list[scenes.SceneEncoder], row: dict[str, Any], file: Path
) -> None:
    """Encode a scene with each encoder, and write its row and the packets of the first to a file."""
    packets = []  # (time in ticks of the clip, whether it is a keyframe, bytes)
    with tempfile.TemporaryFile(dir=file.parent.parent) as data:
        for frame in itertools.chain(frames, [None]):
            for encoder in encoders:
                for packet in encoder.encode(frame):
                    if encoder is encoders[0]:
                        data.write(bytes(packet))
                        packets.append((packet.pts, packet.is_keyframe, packet.size))
        data.seek(0)
        with atomic_write(file) as temporary, open(temporary, "wb") as whole:
            head = {"row": row, "sizes": [encoder.size for encoder in encoders], "packets": packets}
            whole.write(json.dumps(head).encode() + b"\n")
            shutil.copyfileobj(data, whole)
