"""What `predict --encode` does after predicting: encode the inputs at their levels and report what that saves."""

import contextlib
import functools
import itertools
import math
import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.core.errors import UserError, attempt
from common.core.files import check_writable, file_stamp
from common.core.messages import note
from common.core.row_file import STAMP, RowFile
from common.core.terminal import print_error, print_warning, progress
from common.core.threads import prefetch
from common.data.levels import LOWEST_QP, nearest_qp, sur_column
from common.encoding.codecs import ENCODERS, find_encoder
from common.encoding.config import EncodingConfig, SceneConfig
from common.encoding.encode import encode_clip, encode_image
from common.encoding.report import COLUMNS, ReportTable, is_damaged, read_scenes, report_row
from common.encoding.scenes import analyse_clip
from common.encoding.targets import targets_of
from common.media.ffmpeg_process import kill_all
from common.media.formats import is_clip

_SCENE_QP = {"lowest": min, "median": statistics.median}
_IMAGE = ((0, 0),)  # is one scene
LARGE = 16_000_000  # pixels of an image that is encoded while no other large one is: encoding takes 70 bytes a pixel


@dataclass
class _Input:
    """What is predicted of an input.  qps: {frame's number, 0 for an image: QP}; warnings: each once, in order."""

    qps: dict[int, float] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    large: bool = False


def scene_qps(
    parts: Sequence[tuple[int, int]], qps: Mapping[int, float], scene_qp: str = "lowest", down: bool = False
) -> list[int]:
    """Return the whole QP, 1 to 51, at which each scene is encoded.

    A scene without a predicted frame gets the QP of the nearest such frame before it, or else after it.

    Args:
        parts: [(first frame, last frame), ...].
        qps: {frame's number: predicted QP}, at least one.
        scene_qp: One of `common.encoding.config.SCENE_QPS`, applied to the predicted frames of a scene.
        down: Round down, and not to the nearest.
    """
    predicted, whole = sorted(qps.items()), []
    for first, last in parts:
        inside = [qp for number, qp in predicted if first <= number <= last]
        before = [qp for number, qp in predicted if number < first]
        qp = _SCENE_QP[scene_qp](inside or before[-1:] or [predicted[0][1]])
        whole.append(nearest_qp(math.floor(qp) if down else qp, clip=True))
    return whole


class PredictedInputs:
    """Collects what is predicted of inputs: the QPs of one level."""

    def __init__(self, config: SceneConfig, levels: Sequence[str]):
        """Check that the level is among `levels`, which the model predicts.  Raises UserError where it is not."""
        self.config, self.level = config, config.level or levels[0]
        if self.level not in levels:
            raise UserError(f"--level {self.level}: the model with these weights gives {', '.join(levels)}")
        self.column = sur_column(self.level, config.sur)
        self.down = config.sur is not None  # its share of viewers is reached at the next lower whole QP
        self.inputs: dict[Path, _Input] = {}

    def qps_of(self, path: Path, parts: Sequence[tuple[int, int]] = _IMAGE) -> list[int]:
        """Return the whole QP of each scene of an input, as `scene_qps`; an image is one scene."""
        return scene_qps(parts, self.inputs[path].qps, self.config.scene, self.down)

    def add(self, rows: Iterable[dict]) -> None:
        """Note the predicted QPs of an input: rows of predictions, as `common.cli.predict` makes and reads them."""
        for row in rows:
            if row["tile"] in (None, ""):
                source = self.inputs.setdefault(Path(row["path"]), _Input())
                source.qps[int(row["frame"] or 0)] = float(row[self.column])
                source.warnings[row["warning"]] = None
                source.large |= int(row["width"]) * int(row["height"]) > LARGE


class EncodingJob(PredictedInputs):
    """Encodes inputs at their predicted QPs, as an EncodingConfig says.

    Example:
        job = EncodingJob(EncodingConfig(Path("coded"), codec="av1"), ["JND1"], find_places(["clip.mp4"]))
        job.add(rows)  # of common.prediction, for each input
        failures = job.run()
    """

    def __init__(self, config: EncodingConfig, levels: Sequence[str], places: Mapping[Path, Path]):
        """Check that the inputs can be encoded, before anything is predicted.

        Args:
            levels: The names of the levels that the model predicts.
            places: All inputs, as `targets_of` takes them.

        Raises:
            UserError: An encoder is missing, the folder holds files, or two inputs would become one file.
        """
        super().__init__(config, levels)
        self.config: EncodingConfig = config
        for clip in sorted(set(map(is_clip, places))):
            find_encoder(config.codec, clip).check(clip)
        if config.folder.is_file():
            raise UserError(f"{config.folder}: this is a file; expected a folder to write to")
        if config.folder.is_dir() and any(config.folder.iterdir()) and not (config.resume or config.overwrite):
            raise UserError(
                f"{config.folder}: holds files already; --resume encodes what is missing, --overwrite encodes all again"
            )
        report = config.folder / "report.csv"
        self.report = RowFile(report, COLUMNS, resume=config.resume, overwrite=config.overwrite)
        self.stamps = {str(path): file_stamp(path) for path in places}
        if damaged := [row["path"] for row in self.report.kept_rows if is_damaged(row)]:
            self.report.forget(damaged)
            print_warning(report, f"{len(damaged)} of its rows are damaged and not kept")
        self.report.forget_changed(self.stamps)
        self.targets = targets_of(places, config.codec, config.folder)
        check_writable(report)

    def run(self) -> int:
        """Encode all inputs, print a line for each, and write the report.  Returns how many inputs failed."""
        if not self.inputs:
            return 0
        table, failures, large = ReportTable(self.inputs, self.baseline), 0, threading.Lock()
        earlier = {row["path"]: row for row in self.report.kept_rows}
        left = [path for path in self.inputs if not self.may_keep(path, earlier.get(str(path)))]
        self.report.forget(map(str, left))
        for row in self.report.kept_rows:
            table.count(row)

        def encode(path):
            with large if self.inputs[path].large else contextlib.nullcontext():
                return attempt(self._encode, path)

        with progress(total=len(left), unit="file", desc=f"encoding at {self.level}") as bar:
            try:
                for clips, group in itertools.groupby(left, is_clip):
                    # An image is encoded on one core, a clip on all of them.
                    with prefetch(encode, group, ahead=4, workers=1 if clips else None) as rows:
                        for row in rows:
                            if isinstance(row, UserError):
                                failures += 1
                                print_error(row)
                            else:
                                self._write(row)
                                table.print(row)
                            bar.update()
            except BaseException:
                kill_all()
                raise
        self.report.finish()
        table.print_sum()
        if ENCODERS[self.config.codec][0].parameter != "qp":
            note("each setting is the coarsest that is as good, by PSNR, as H.264 at the QP: `mapping` in the report")
        print(f"report: {self.report.path}")
        return failures

    @functools.cached_property
    def baseline(self) -> int | None:
        """The QP whose size the encoded files are compared with; None where all of them are encoded at one QP."""
        if self.config.baseline is not None:
            return self.config.baseline
        qps = [nearest_qp(self.rounded(qp), clip=True) for source in self.inputs.values() for qp in source.qps.values()]
        return min(qps) if min(qps) != max(qps) else None

    def rounded(self, qp: float) -> float:
        """Return a QP as predicted, or rounded down."""
        return math.floor(qp) if self.down else qp

    def may_keep(self, path: Path, row: dict | None) -> bool:
        """Return whether `row` of an earlier report, or None, is what this run would write about an input."""
        if row is None or not Path(row["target"]).is_file():
            return False
        encoded, lowest = read_scenes(row), min(self.inputs[path].qps.values())
        # The lowest QP does not tell how the QP of each scene followed from those of its frames.
        return (
            (row["codec"], row["target"]) == (self.config.codec, str(self.targets[path]))
            and row["baseline qp"] == str("" if self.baseline is None else self.baseline)
            and any(abs(float(row["level"]) - level) < 1e-3 for level in (lowest, self.rounded(lowest)))  # as before
            and (list(encoded.values()) or [int(row["qp"])]) == self.qps_of(path, list(encoded) or _IMAGE)
        )

    def _encode(self, path: Path) -> dict:
        """Encode one input and return its row.  Raises UserError."""
        target, config, lowest = self.targets[path], self.config, min(self.inputs[path].qps.values())
        if isinstance(target, UserError):
            raise target
        if nearest_qp(self.rounded(lowest)) < LOWEST_QP:
            warning = f"level {lowest:.2f}: encoded at QP {LOWEST_QP}, above it, for none lower is encoded"
            print_warning(path, warning)
            self.inputs[path].warnings[warning] = None
        if is_clip(path):
            clip = analyse_clip(path)
            qps, jobs = self.qps_of(path, clip.scenes), {"jobs": config.jobs, "resume": config.resume}
            row = encode_clip(clip, qps, target, config.codec, self.baseline, **jobs)
        else:
            row = encode_image(path, self.qps_of(path)[0], target, config.codec, self.baseline)
        return row | {"level": lowest}

    def _write(self, row: dict) -> None:
        """Write the row of an input to the report, with the warnings of its prediction, and print its own warning."""
        if not is_clip(row["input"]):  # a clip's is printed before it is encoded
            print_warning(row["input"], row["warning"])
        row["warning"] = "; ".join(filter(None, (*self.inputs[Path(row["input"])].warnings, row["warning"])))
        self.report.write([report_row(row) | {STAMP: self.stamps[row["input"]]}])
