"""What `predict --format` prints: the scenes of clips with their settings, as other tools take them.

Measured with x265 3.5 and 4.3: its zones take a QP, no CRF, and count frames in the order of coding, so that they are
exact only where a scene starts with an IDR frame and GOPs are closed.  x264's zones change no constant QP, and with a
CRF the first frame of a zone keeps the QP of the one before it: a scene is encoded by a command of its own.
"""

import dataclasses
import json
import math
import os
import re
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import av

from common.core.errors import UserError
from common.core.messages import note
from common.core.names import one_line
from common.core.terminal import print_error, print_warning, progress
from common.encoding import scenes
from common.encoding.codecs import H264, Encoder, find_encoder
from common.encoding.config import PlanConfig
from common.encoding.job import PredictedInputs
from common.encoding.matching import SAMPLE, STEP_DB, Sample
from common.encoding.sources import Source
from common.media.clips import any_of
from common.media.ffmpeg_process import watch_kills
from common.media.formats import is_clip

SAMPLES = 3  # of a scene that is longer than SAMPLE frames, which they have together
# CRF by which samples differ from a scene, besides their spread, since each starts anew: measured, see docs/predict.md
SHORT = {"libx264": 0.5, "libx265": 0.5, "libsvtav1": 2}
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
        self.format, self.codec, self.out = config.format, config.codec, out
        if self.format == "x265-zones" and find_encoder(self.codec, clip=True).parameter != "qp":
            raise UserError(
                f"--codec {self.codec}: x265's zones take a QP only; --format ffmpeg or av1an-scenes, or no --codec"
            )
        if self.format in ("x265-zones", "av1an-scenes") and len(places) > 1:
            raise UserError(
                f"--format {self.format}: these are {len(places)} inputs; expected one clip, run once for each"
            )
        for path in places:
            encoder = find_encoder(self.codec, is_clip(path))
            if not is_clip(path) and (self.format not in ("text", "json") or encoder.parameter != "qp"):
                raise UserError(f"{path}: an image has no scenes; --encode codes it, --format json gives its QP")
            encoder.check(is_clip(path))

    def run(self) -> int:
        """Print the plans of all inputs; return how many inputs failed."""
        documents = []
        for path in self.inputs:
            try:
                documents.append(self._document(path))
            except UserError as error:
                print_error(error)
                continue
            if self.format != "json":
                self._print(documents[-1])
        if self.format == "json":
            print(json.dumps({"inputs": documents}), file=self.out)
        return len(self.inputs) - len(documents)

    def _document(self, path: Path) -> dict[str, Any]:
        """Return all that is known of an input, ready for JSON: what holds for the codec."""
        encoder = find_encoder(self.codec, is_clip(path))
        document: dict[str, Any] = {"path": str(path), "level": self.column, "codec": self.codec}
        document |= {"parameter": encoder.parameter, "levels": self.inputs[path].qps}
        if is_clip(path):
            clip = scenes.analyse_clip(path)
            print_warning(path, clip.warning)
            parts = plan_scenes(clip, encoder, self.qps_of(path, clip.scenes))
            document |= {"frames": len(clip.times), "rate": str(clip.rate), "seconds": clip.seconds}
            document |= {"x265-zones": x265_zones(parts)} if encoder.parameter == "qp" else {}
            document["av1an-scenes"] = av1an_scenes(encoder, parts)
            document["ffmpeg"] = ffmpeg_commands(clip, encoder, parts)
        else:
            parts = [ScenePlan(0, 0, qp, qp) for qp in self.qps_of(path)]
        return document | {"scenes": [dataclasses.asdict(part) for part in parts]}

    def _print(self, document: dict[str, Any]) -> None:
        """Print a document in any format but JSON."""
        parts = document["scenes"]
        if self.format == "text":
            for part in parts:
                where = f" frames {part['start']} to {part['end']}" if "frames" in document else ""
                crf = f", {document['parameter']} {part['value']:g} ± {part['margin']:g}" if part["margin"] else ""
                print(f"{one_line(document['path'])}{where}: QP {part['qp']}{crf}", file=self.out)
        elif self.format == "ffmpeg":
            print(*document["ffmpeg"], sep=" &&\n", file=self.out)
        elif self.format == "av1an-scenes":
            print(json.dumps(document["av1an-scenes"]), file=self.out)
        else:
            keys = ", ".join(f"{part['start']} I -1" for part in parts)
            qpfile = f" --qpfile FILE (its lines: {keys})" if len(parts) > 1 else ""
            options = f"--qp {parts[0]['qp']} --ipratio 1 --pbratio 1 --no-open-gop{qpfile}"
            note(f"x265 needs {options} too", sys.stderr)
            print(document["x265-zones"], file=self.out)


def plan_scenes(clip: scenes.ClipInfo, encoder: Encoder, qps: Sequence[int]) -> list[ScenePlan]:
    """Return the setting of each scene: its QP, or else what is as good on samples of it as H.264 at that QP."""
    if encoder.parameter == "qp":
        return [ScenePlan(*scene, qp, qp) for scene, qp in zip(clip.scenes, qps)]
    parts, alive = [], watch_kills()
    with progress(total=len(clip.times), unit="frame", desc=Path(clip.path).name, leave=False) as bar:
        reader = scenes.SceneReader(clip, f"sampling {clip.path}", bar.update)
        for (first, last), qp in zip(clip.scenes, qps):
            starts, length = [first], last + 1 - first
            if length > SAMPLE:
                length = SAMPLE // SAMPLES
                starts = [first + (last + 1 - length - first) * n // (SAMPLES - 1) for n in range(SAMPLES)]
            windows = [range(start, start + length) for start in starts]
            sample = Sample(clip, windows, reader.read(first, last), alive)
            parts.append(ScenePlan(first, last, qp, *_find_setting(sample, encoder, qp)))
    return parts


def _find_setting(sample: Sample, encoder: Encoder, qp: int) -> tuple[float, float]:
    """Return the CRF that is as good on a sample of a scene as H.264 at a QP, and its margin."""
    whole, db, _ = sample.match(encoder, qp)
    step = db - sample.db(encoder, min(whole + 1, encoder.settings[0])) or STEP_DB  # the search has tried that one too
    spare = [own - wanted for own, wanted in zip(sample.dbs(encoder, whole), sample.dbs(H264, qp))]
    spread = 2 * statistics.stdev(spare) / math.sqrt(SAMPLES) / step + SHORT[encoder.library] if len(spare) > 1 else 0
    if encoder.library == "libsvtav1":  # whose CRF is a whole number in ffmpeg
        return whole, max(math.ceil(spread), 1)
    return whole + math.floor(10 * max(statistics.fmean(spare), 0) / step) / 10, max(round(spread, 1), 0.1)


def x265_zones(parts: Iterable[ScenePlan]) -> str:
    """Return x265's option `zones`: a constant QP in each scene.

    x265 counts from 0 and includes the last frame, but it looks a zone's start up with the number of the next frame,
    and its end with a comparison that excludes it: both are one further than the scene's.
    """
    return "/".join(f"{part.start and part.start + 1},{part.end + 1},q={part.qp}" for part in parts)


def av1an_scenes(encoder: Encoder, parts: Sequence[ScenePlan]) -> dict[str, Any]:
    """Return the document that Av1an reads with --scenes: its ScenesData, with the ZoneOptions of each scene.

    Some versions encode only what is in `split_scenes`; older ones do not know it.
    """
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
    return {"frames": parts[-1].end + 1, "scenes": found, "split_scenes": found}


def _arguments(encoder: Encoder, value: float) -> list[str]:
    """Return the arguments of the encoder's own program for the settings that ffmpeg's options stand for."""
    settings = {}
    for name, option in encoder.options(value, None).items():
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
    clip = clip._replace(path=os.path.abspath(clip.path))
    name, starts = re.sub(r"[^\w.-]", "_", Path(clip.path).stem), [part.start for part in parts[1:]]
    target = f"{name}.coded.mkv"
    if not starts or encoder.parameter == "qp" and encoder.library == "libx265":
        options = encoder.options(parts[0].value, clip.rate) | {"map": "0:a?", "c:a": "copy"}
        if starts:
            options |= {"forced-idr": 1, "force_key_frames": f"expr:{any_of(starts)}"}
            options["x265-params"] += f":open-gop=0:zones={x265_zones(parts)}"
        return [_command(clip, encoder, options, [], target)]
    digits, commands = len(str(len(parts))), []
    files = [f"{name}.scene-{number:0{digits}}.mp4" for number in range(len(parts))]
    for part, file in zip(parts, files):
        cut = [f"trim=start_frame={part.start}:end_frame={part.end + 1}", "setpts=PTS-STARTPTS"]
        # Without -y, ffmpeg leaves a scene of an earlier run as it is, with exit code 0.
        options = encoder.options(part.value, clip.rate) | {"y": None}
        commands.append(_command(clip, encoder, options, cut, file))
    with Source(clip.path) as source:
        opening = 0 if source.free_clock else Fraction(source.file.start_time or 0, av.time_base)
    late = clip.times[0] * clip.tick - opening
    delay = ["-itsoffset", f"{float(late):.6f}"] if late > 0 else []
    inputs = [*delay, "-f", "concat", "-safe", "0", "-i", f"{name}.scenes.txt", "-i", clip.path]
    join = shlex.join(["ffmpeg", "-nostdin", *inputs, "-map", "0:v", "-map", "1:a?", "-c", "copy", target])
    return [*commands, f"""printf "file '%s'\\n" {" ".join(files)} > {name}.scenes.txt && {join}"""]


def _command(
    clip: scenes.ClipInfo, encoder: Encoder, settings: Mapping[str, Any], filters: list[str], target: str
) -> str:
    """Return a command line that encodes a clip.  settings: Options of ffmpeg for the output."""
    (height, width), even = clip.format.size, clip.encoded_size
    if (height, width) != even:
        borders = f"fillborders=right={width % 2}:bottom={height % 2}:mode=smear"
        filters = [*filters, "format=yuv444p", f"pad={even[1]}:{even[0]}", borders]
    settings = {"pix_fmt": "yuv420p", "fps_mode": "passthrough", "c:v": encoder.library, **settings}
    pairs = [text for name, option in settings.items() if name != "tag:v" for text in _flag(name, option)]
    view = ["-vf", ",".join(filters)] if filters else []
    return shlex.join(["ffmpeg", "-nostdin", "-i", clip.path, "-map", "0:V:0", *view, *pairs, target])


def _flag(name: str, value: object) -> list[str]:
    return [f"-{name}"] if value is None else [f"-{name}", str(value)]
