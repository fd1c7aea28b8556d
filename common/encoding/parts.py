"""The scenes of a clip, encoded side by side, and kept on disk until the whole clip is done.

Each is a file: a line of JSON, then its packets one after the other.  Its name has a digest of all that its bytes
depend on, so that a run with `--resume` finds what a killed one has completed.
"""

import functools
import hashlib
import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write, file_stamp
from common.core.parallel import parallel_map
from common.core.stopping import discard, kept
from common.encoding import scenes
from common.encoding.codecs import H264, Encoder, match_quality
from common.media.ffmpeg import CLIP_THREADS
from common.media.ffmpeg_process import watch_kills

# The setting that is as good as a QP is found on the first frames of a scene, up to this number.  They are encoded as
# the scene will be, frame types included: an encoder loses little on a frame that repeats the one before it.
SAMPLE = 120


def encode_scenes(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    qps: list[list[int]],
    flags: int,
    folder: Path,
    jobs: int,
    progress: Callable[[int], object],
) -> list[dict[str, Any]]:
    """Encode the scenes of a clip, each into a file in `folder`, unless it is there.

    Each job has a decoder, and passes over the frames of the scenes of others, so that few frames are in memory.

    Args:
        qps: Of each scene: its own, and others at which only its bytes are counted.
        flags: Of the encoders.
        jobs: How many scenes are encoded at a time; the files do not depend on it.
        progress: Called with a number of frames that are done.

    Returns:
        In order: {"start", "end": frames, both included; "qp"; "value": the encoder's setting; "mapping": how it was
        found; "bytes": at each of its QPs; "file": for `read_packets`}.
    """
    task, mine = f"encoding {clip.path} in {encoder.title}", threading.local()
    failed, killed = threading.Event(), watch_kills()

    def alive() -> None:
        killed()
        if failed.is_set():
            raise UserError("stopped")

    def frames(first: int, last: int) -> Iterator[scenes.Frame]:
        if not hasattr(mine, "frames"):
            mine.frames = scenes.read_frames(clip, first, task)
        for number, samples in mine.frames:
            alive()
            if number >= first:
                yield number, samples
                progress(1)
            if number == last:
                return
        raise UserError(f"{task}: {clip.path} has fewer frames than before; is another program writing it?")

    def encode(index: int) -> dict[str, Any]:
        first, last = clip.scenes[index]
        depends = clip._replace(times=clip.times[first : last + 1], scenes=[(first, last)])
        options = encoder.options and encoder.options(encoder.settings[0], CLIP_THREADS, clip.rate)
        depends = (depends, file_stamp(clip.path), encoder.library, options, qps[index], flags, av.library_versions)
        file = folder / f"{first}-{last} {hashlib.sha256(repr(depends).encode()).hexdigest()[:16]}"
        if file.exists():
            progress(last - first + 1)
        else:
            place = folder.parent  # which has room
            with tempfile.TemporaryFile(dir=place) as samples, tempfile.TemporaryFile(dir=place) as data:
                matches, left = _match(clip, encoder, frames(first, last), qps[index], samples, alive)
                settings = [matches[qp][0] for qp in qps[index]]
                sizes, packets = _encode(clip, encoder, left, settings, flags, data)
                head = {"start": first, "end": last, "qp": qps[index][0], "value": settings[0]}
                head |= {"mapping": matches[qps[index][0]][1], "bytes": sizes, "packets": packets}
                data.seek(0)
                with atomic_write(file) as temporary, open(temporary, "wb") as whole:
                    whole.write(json.dumps(head).encode() + b"\n")
                    shutil.copyfileobj(data, whole)
        kept[folder] = f"the complete scenes in {folder}, --resume goes on with them"
        with open(file, "rb") as opened:
            head = json.loads(opened.readline())
        return {name: head[name] for name in head if name != "packets"} | {"file": file}

    return parallel_map(encode, range(len(clip.scenes)), jobs, None, failed.set)


def read_packets(file: Path, tick: Fraction) -> Iterator[av.Packet]:
    """Yield the packets of an encoded scene, in the order of coding."""
    with open(file, "rb") as opened:
        for time, is_keyframe, size in json.loads(opened.readline())["packets"]:
            packet = av.Packet(opened.read(size))
            packet.pts, packet.time_base, packet.is_keyframe = time, tick, is_keyframe
            yield packet


def forget_scenes(folder: Path) -> None:
    """Remove the encoded scenes in a folder."""
    discard(folder)
    kept.pop(folder, None)


def _encode(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    frames: Iterable[scenes.Frame],
    settings: list[int],
    flags: int,
    data: IO[bytes],
) -> tuple[list[int], list[tuple]]:
    """Encode a scene with each of its settings and write the packets of the first to `data`.

    Returns:
        [bytes with each setting], [(time in ticks of the clip, whether it is a keyframe, bytes) of each packet].
    """
    encoders = {value: scenes.SceneEncoder(clip, encoder, value, flags) for value in settings}
    packets = []
    for frame in itertools.chain(frames, [None]):
        for value, scene_encoder in encoders.items():
            for packet in scene_encoder.encode(frame):
                if value == settings[0]:
                    data.write(bytes(packet))
                    packets.append((packet.pts, packet.is_keyframe, packet.size))
    return [encoders[value].size for value in settings], packets


def _match(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    frames: Iterator[scenes.Frame],
    qps: list[int],
    file: IO[bytes],
    alive: Callable[[], None],
) -> tuple[dict[int, tuple[int, str]], Iterable[scenes.Frame]]:
    """Return {QP: (the encoder's setting, how it was found)} of a scene, and its frames; some are in `file`."""
    if encoder.parameter == "qp":
        return {qp: (qp, "") for qp in qps}, frames
    numbers = []
    for number, samples in itertools.islice(frames, SAMPLE):
        numbers.append(number)
        file.write(samples)
    file.flush()
    stored = np.memmap(file, np.uint8, "r").reshape(len(numbers), -1)
    mean_db = functools.partial(scenes.mean_psnr, clip, numbers, stored, alive)
    quality, matches = functools.cache(functools.partial(mean_db, encoder)), {}
    for qp in sorted(set(qps)):
        due = mean_db(H264, qp)
        value, db = match_quality(encoder.settings, quality, due)
        matches[qp] = value, describe_mapping(db, due, qp, f" on frames {numbers[0]} to {numbers[-1]}")
    return matches, itertools.chain(zip(numbers, stored), frames)


def describe_mapping(db: float, wanted: float, qp: int, where: str = "") -> str:
    """Say how well a setting matches H.264 at a QP, by PSNR in dB; where: on which frames."""
    result = "mapped by equal PSNR" if db >= wanted else "its best, below the PSNR wanted"
    return f"{result}{where} ({db:.2f} dB against {wanted:.2f} dB of H.264 at QP {qp})"
