"""What `predict --format` prints: the scenes of clips with their settings, as other tools take them.

Measured with x265 3.5 and 4.3: its zones take a QP, no CRF, and count frames in the order of coding, so that they are
exact only where a scene starts with an IDR frame and GOPs are closed.  x264's zones change no constant QP, and with a
CRF the first frame of a zone keeps the QP of the one before it: a scene is encoded by a command of its own.
"""

import dataclasses
import functools
import itertools
import json
import math
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, TextIO

import av
import numpy as np
from tqdm import tqdm

from common.core.errors import UserError
from common.core.messages import note
from common.core.names import one_line
from common.core.terminal import progress
from common.data.levels import nearest_qp
from common.encoding import scenes
from common.encoding.codecs import H264, STEP_DB, Encoder, find_encoder, match_quality
from common.encoding.config import PlanConfig
from common.encoding.encode import scene_qps
from common.encoding.job import PredictedInputs, print_warning
from common.encoding.parts import SAMPLE
from common.encoding.sources import Source
from common.media.clips import any_of, is_clip
from common.media.ffmpeg import CLIP_THREADS
from common.media.ffmpeg_process import watch_kills

SAMPLES = 3  # of a scene that is longer than SAMPLE frames, which they have together
SHORT = 0.5  # CRF by which samples differ from a scene since each starts anew: 0.4 and 0.5 in samples of 20 frames
_AV1AN = {"libx264": "x264", "libx265": "x265", "libsvtav1": "svt_av1"}  # the names in its JSON
_X264_FLAGS = ("psy", "mbtree", "weightb", "no-fast-pskip")  # which the program x264 takes without a value
_OF_FFMPEG = ("tag:v", "log-level", "fps", "fps-num", "fps-denom")  # what Av1an's encoders know of their input


@dataclasses.dataclass(frozen=True)
class ScenePlan:
    """The setting of a scene.

    Attributes:
        start, end: Its first and its last frame.
        qp: Of H.264.
        value: The encoder's setting.
        margin: How far `value` may be from what the whole scene would give; None where it is the QP.
    """

    start: int
    end: int
    qp: int
    value: float
    margin: float | None = None


class PlanJob(PredictedInputs):
    """Finds and prints the settings of inputs, as a PlanConfig says; used as an EncodingJob."""

    def __init__(self, config: PlanConfig, levels: Sequence[str], places: Mapping[Path, Path], out: TextIO):
        """Check that the inputs can be printed so, before anything is predicted; raise UserError where not."""
        super().__init__(config, levels)
        format, codec = config.format, config.codec
        if format == "x265-zones" and codec not in ("h264", "hevc-qp"):
            raise UserError(
                f"--codec {codec}: x265's zones take a QP only; --format ffmpeg or av1an-scenes, or no --codec"
            )
        self.config, self.out = config, out
        self.codec = "hevc-qp" if format == "x265-zones" else codec
        if format in ("x265-zones", "av1an-scenes") and len(places) > 1:
            raise UserError(f"--format {format}: these are {len(places)} inputs; expected one clip, run once for each")
        for path in places:
            encoder = find_encoder(self.codec, is_clip(path))
            if not is_clip(path) and (format not in ("text", "json") or encoder.parameter != "qp"):
                raise UserError(f"{path}: an image has no scenes; --encode codes it, --format json gives its QP")
            encoder.check(is_clip(path))

    def run(self) -> int:
        """Print the plans of all inputs; return how many inputs failed."""
        documents = []
        for path in self.inputs:
            try:
                documents.append(self._document(path))
            except UserError as error:
                tqdm.write(f"error: {one_line(str(error))}", file=sys.stderr)
                continue
            if self.config.format != "json":
                self._print(documents[-1])
        if self.config.format == "json":
            print(json.dumps({"inputs": documents}), file=self.out)
        return len(self.inputs) - len(documents)

    def _document(self, path: Path) -> dict[str, Any]:
        """Return all that is known of an input, ready for JSON."""
        qps, down, encoder = self.inputs[path].qps, self.config.sur is not None, find_encoder(self.codec, is_clip(path))
        document = {"path": str(path), "level": self.column, "codec": self.codec, "parameter": encoder.parameter}
        if not is_clip(path):
            qp = nearest_qp(math.floor(qps[0]) if down else qps[0], clip=True)
            return document | {"levels": qps, "scenes": [dataclasses.asdict(ScenePlan(0, 0, qp, qp))]}
        clip = scenes.analyse_clip(path)
        if clip.warning:
            print_warning(path, clip.warning)
        parts = plan_scenes(clip, encoder, scene_qps(clip.scenes, qps, self.config.scene, down))
        document |= {"frames": len(clip.times), "rate": str(clip.rate), "seconds": clip.seconds, "levels": qps}
        document |= {"scenes": [dataclasses.asdict(part) for part in parts]}
        forms = {
            "x265-zones": lambda: x265_zones(parts),
            "av1an-scenes": lambda: av1an_scenes(encoder, parts),
            "ffmpeg": lambda: ffmpeg_commands(clip, encoder, parts),
        }
        return document | {name: form() for name, form in forms.items() if self.config.format in (name, "json")}

    def _print(self, document: dict[str, Any]) -> None:
        match self.config.format:
            case "text":
                for part in document["scenes"]:
                    setting = (
                        f", {document['parameter']} {part['value']:g} ± {part['margin']:g}" if part["margin"] else ""
                    )
                    where = f" frames {part['start']} to {part['end']}" if "frames" in document else ""
                    print(f"{one_line(document['path'])}{where}: QP {part['qp']}{setting}", file=self.out)
            case "ffmpeg":
                print(*document["ffmpeg"], sep="\n", file=self.out)
            case "av1an-scenes":
                print(json.dumps(document["av1an-scenes"]), file=self.out)
            case "x265-zones":
                starts = [str(part["start"]) for part in document["scenes"][1:]]
                keys = "".join(f", {at} I -1" for at in starts)
                qpfile = f" --qpfile FILE (its lines: 0 I -1{keys})" if starts else ""
                note(
                    f"x265 needs --qp {document['scenes'][0]['qp']} --ipratio 1 --pbratio 1 --no-open-gop{qpfile} too",
                    sys.stderr,
                )
                print(document["x265-zones"], file=self.out)


def plan_scenes(clip: scenes.ClipInfo, encoder: Encoder, qps: Sequence[int]) -> list[ScenePlan]:
    """Return the setting of each scene: its QP, or else what is as good on samples of it as H.264 at that QP."""
    if encoder.parameter == "qp":
        return [ScenePlan(*scene, qp, qp) for scene, qp in zip(clip.scenes, qps)]
    parts, task = [], f"sampling {clip.path}"
    with progress(total=len(clip.times), unit="frame", desc=Path(clip.path).name, leave=False) as bar:
        for scene, qp, frames in zip(clip.scenes, qps, scenes.each_scene(clip, task, bar.update)):
            with tempfile.TemporaryFile() as file:
                parts.append(ScenePlan(*scene, qp, *_find_setting(clip, encoder, scene, frames, qp, file)))
    return parts


def _find_setting(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    scene: tuple[int, int],
    frames: Iterable[scenes.Frame],
    qp: int,
    file: IO[bytes],
) -> tuple[float, float]:
    """Return the CRF that is as good on samples of a scene, kept in `file`, as H.264 at a QP, and its margin."""
    (first, last), length = scene, SAMPLE // SAMPLES
    starts = [first + (last + 1 - length - first) * n // (SAMPLES - 1) for n in range(SAMPLES)]
    if last - first < SAMPLE:
        starts, length = [first], last + 1 - first
    windows = [range(start, start + length) for start in starts]
    for number, samples in frames:
        if any(number in window for window in windows):
            file.write(samples)
    file.flush()
    stored, alive = np.memmap(file, np.uint8, "r").reshape(len(windows), length, -1), watch_kills()

    @functools.cache
    def dbs(encoder: Encoder, value: int) -> list[float]:
        return [scenes.mean_psnr(clip, *sample, alive, encoder, value) for sample in zip(windows, stored)]

    def mean_db(value: int) -> float:
        return statistics.fmean(dbs(encoder, value))

    wanted = dbs(H264, qp)
    whole, db = match_quality(encoder.settings, mean_db, statistics.fmean(wanted))
    step = db - mean_db(min(whole + 1, encoder.settings[0])) or STEP_DB  # the search has tried that one too
    spare = [own - other for own, other in zip(dbs(encoder, whole), wanted)]
    spread = SHORT + statistics.stdev(spare) / math.sqrt(SAMPLES) / step if len(spare) > 1 else 0
    if encoder.library == "libsvtav1":  # whose CRF is a whole number in ffmpeg
        return whole, max(round(spread, 1), 1)
    return whole + math.floor(10 * max(statistics.fmean(spare), 0) / step) / 10, max(round(spread, 1), 0.1)


def x265_zones(parts: Iterable[ScenePlan]) -> str:
    """Return x265's option `zones`: a constant QP in each scene.

    x265 counts from 0 and includes the last frame, but it looks a zone's start up with the number of the next frame,
    and its end with a comparison that excludes it: both are one further than the scene's.
    """
    return "/".join(f"{part.start and part.start + 1},{part.end + 1},q={part.qp}" for part in parts)


def av1an_scenes(encoder: Encoder, parts: Sequence[ScenePlan]) -> dict[str, Any]:
    """Return the document that Av1an reads with --scenes: its ScenesData, with the ZoneOptions of each scene."""
    found = [
        {
            "start_frame": part.start,
            "end_frame": part.end + 1,
            "zone_overrides": {
                "encoder": _AV1AN[encoder.library],
                "passes": 1,
                "video_params": _arguments(encoder, part.value),
                "photon_noise": None,
                "photon_noise_height": None,
                "photon_noise_width": None,
                "chroma_noise": False,
                "extra_splits_len": None,
                "min_scene_len": 1,
            },
        }
        for part in parts
    ]
    return {"frames": parts[-1].end + 1, "scenes": found}


def _arguments(encoder: Encoder, value: float) -> list[str]:
    """Return the arguments of the encoder's own program for the settings that ffmpeg's options stand for."""
    assert encoder.options
    settings = {}
    for name, option in encoder.options(value, CLIP_THREADS, None).items():
        own = name.endswith("-params")
        settings |= dict(pair.split("=") for pair in option.split(":")) if own else {name: option}
    arguments = []
    for name, option in settings.items():
        if encoder.library == "libx264" and name in _X264_FLAGS:
            arguments.append(f"--{name}" if option == "1" else f"--no-{name}")
        elif name not in _OF_FFMPEG:
            arguments += [f"--{name}", str(option)]
    return arguments


def ffmpeg_commands(clip: scenes.ClipInfo, encoder: Encoder, parts: Sequence[ScenePlan]) -> list[str]:
    """Return the command lines that encode a clip: one, or one a scene and another that joins what they write.

    They write NAME.coded.mkv in the folder where they run, with the clip's sound.
    """
    name, starts = re.sub(r"[^\w.-]", "_", Path(clip.path).stem), [part.start for part in parts[1:]]
    target, keyframes, zones = f"{name}.coded.mkv", {}, {}
    if not starts or encoder.parameter == "qp" and encoder.library == "libx265":
        if starts:
            keyframes = {"forced-idr": 1, "force_key_frames": f"expr:{any_of(starts)}"}
            zones = {"x265-params": f":open-gop=0:zones={x265_zones(parts)}"}
        return [_command(clip, encoder, parts[0].value, [], {"map": "0:a?", "c:a": "copy"} | keyframes, zones, target)]
    digits, commands = len(str(len(parts))), []
    for number, part in enumerate(parts):
        cut = [f"trim=start_frame={part.start}:end_frame={part.end + 1}", "setpts=PTS-STARTPTS"]
        commands.append(_command(clip, encoder, part.value, cut, {}, {}, f"{name}.scene-{number:0{digits}}.mp4"))
    with Source(clip.path) as source:
        opening = 0 if source.free_clock else Fraction(source.file.start_time or 0, av.time_base)
    late = clip.times[0] * clip.tick - opening
    delay = ["-itsoffset", f"{float(late):.6f}"] if late > 0 else []
    inputs = [*delay, "-f", "concat", "-safe", "0", "-i", f"{name}.scenes.txt", "-i", clip.path]
    join = shlex.join(["ffmpeg", "-nostdin", *inputs, "-map", "0:v", "-map", "1:a?", "-c", "copy", target])
    return [*commands, f"""printf "file '%s'\\n" {name}.scene-*.mp4 > {name}.scenes.txt && {join}"""]


def _command(
    clip: scenes.ClipInfo,
    encoder: Encoder,
    value: float,
    filters: list[str],
    flags: Mapping[str, Any],
    more: Mapping[str, str],
    target: str,
) -> str:
    """Return a command line that encodes a clip.  more: What is added to the encoder's options; flags: others."""
    assert encoder.options
    (height, width), even = clip.format.size, clip.encoded_size
    if (height, width) != even:
        borders = f"fillborders=right={width % 2}:bottom={height % 2}:mode=smear"
        filters = [*filters, "format=yuv444p", f"pad={even[1]}:{even[0]}", borders]
    own = {name: option for name, option in encoder.options(value, CLIP_THREADS, clip.rate).items() if name != "tag:v"}
    own = {name: f"{option}{more.get(name, '')}" for name, option in own.items()}
    own = {"pix_fmt": "yuv420p", "fps_mode": "passthrough", "c:v": encoder.library, **own, **flags}
    pairs = itertools.chain.from_iterable((f"-{name}", str(option)) for name, option in own.items())
    view = ["-vf", ",".join(filters)] if filters else []
    return shlex.join(["ffmpeg", "-nostdin", "-i", clip.path, "-map", "0:V:0", *view, *pairs, target])
