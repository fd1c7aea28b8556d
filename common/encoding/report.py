"""What `predict --encode` does after it has predicted: the inputs coded at their levels, and a report."""

import contextlib
import itertools
import math
import re
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from common.core.errors import UserError
from common.core.files import check_writable
from common.core.names import one_line
from common.core.row_file import RowFile
from common.core.terminal import Listing
from common.core.threads import prefetch
from common.data.levels import sur_column
from common.encoding.codecs import coder
from common.encoding.encode import encode_clip, encode_image, nearest, scene_qps
from common.encoding.targets import targets_of
from common.media.clips import is_clip
from common.media.ffmpeg_process import kill_all

REPORT = "report.csv"
LARGE = 16_000_000  # pixels of a picture that is coded while no other large one is: coding takes 70 bytes a pixel
COLUMNS = (
    "path,target,codec,level,qp,parameter,value,mapping,bytes,bits a pixel,kb/s,psnr luma,lowest psnr luma,psnr rgb,"
    "ssim luma,ssim rgb,vmaf,frames,seconds,scenes,baseline qp,baseline value,baseline bytes,saving %,warning"
).split(",")
SCENES = r"(\d+)-(\d+) QP (\d+)"  # first and last frame


class EncodingJob:
    """Codes what was predicted into the folder `options.encode`, at the level `options.coded_level`.

    Raises UserError, before anything is predicted, where that could not work: an encoder that is missing, a folder that
    holds something, two inputs that would be one file.  levels: the names of those that the model knows.
    """

    def __init__(self, options, levels, paths):
        self.options, self.folder = options, Path(options.encode)
        self.level = options.coded_level or levels[0]
        if self.level not in levels:
            raise UserError(f"--level {self.level}: the model with these weights gives {', '.join(levels)}")
        for clips in sorted({is_clip(path) for path in paths}):
            coder(options.codec, clips).check()
        if self.folder.is_file():
            raise UserError(f"{self.folder}: this is a file; expected a folder to write to")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (options.resume or options.overwrite):
            raise UserError(
                f"{self.folder}: holds files; --resume codes what is missing there, --overwrite what is there as well"
            )
        how = {"resume": options.resume, "overwrite": options.overwrite}
        self.report = RowFile(self.folder / REPORT, COLUMNS, **how)
        self.targets = targets_of(paths, options.codec, self.folder)
        self.column = sur_column(self.level, options.sur)
        check_writable(self.report.path)
        self.wanted, self.warnings, self.large = (
            {},
            {},
            set(),
        )  # path: [(frame, seconds, QP), ...]; path: its frames' warnings, each once

    def add(self, rows):
        """Remember the levels of a file, which rows of `common.cli.predict` hold."""
        for row in rows:
            if row["tile"] in (None, ""):
                place = [None if row[name] in (None, "") else float(row[name]) for name in ("frame", "seconds")]
                # A share of viewers holds up to the next lower whole QP.
                qp = math.floor(float(row[self.column])) if self.options.sur else float(row[self.column])
                path = Path(row["path"])
                self.wanted.setdefault(path, []).append((*place, qp))
                self.warnings.setdefault(path, {})[row["warning"]] = True
                if int(row["width"]) * int(row["height"]) > LARGE:
                    self.large.add(path)

    def run(self):
        """Code them all, print a row each, write the report.  Returns how many could not be coded."""
        if not self.wanted:
            return 0
        shown, baseline, alone = Table(self.wanted), self.baseline(), threading.Lock()
        kept = {row["path"]: row for row in self.report.kept_rows}
        left = [path for path in self.wanted if not self._is_done(path, kept.get(str(path)), baseline)]
        self.report.forget(map(str, left))
        shown.add(self.report.kept_rows)

        def code(path):
            try:
                with alone if path in self.large else contextlib.nullcontext():
                    return self._code(path, baseline)
            except UserError as error:
                return error

        bad = 0
        with tqdm(total=len(left), unit="file", desc=f"coding at {self.level}", disable=None) as bar:
            try:
                for clips, group in itertools.groupby(left, is_clip):
                    # Pictures are coded on a core each, a clip on all of them.
                    with prefetch(code, group, ahead=4, workers=1 if clips else None) as rows:
                        for row in rows:
                            if isinstance(row, UserError):
                                bad += 1
                                tqdm.write(f"error: {one_line(str(row))}", file=sys.stderr)
                            else:
                                self._note(row, shown)
                            bar.update()
            except BaseException:
                kill_all()
                raise
        self.report.finish()
        shown.end(baseline)
        if self.options.codec != "h264":
            print("each setting is the coarsest that is as good, by PSNR, as H.264 at the QP: `mapping` in the report")
        print(f"report: {self.report.path}")
        return bad

    def _note(self, row, shown):
        """Tell the person, and the report, what came of a file."""
        if row["warning"]:
            tqdm.write(f"warning: {one_line(row['input'])}: {row['warning']}", file=sys.stderr)
        row["warning"] = "; ".join(filter(None, (*self.warnings[Path(row["input"])], row["warning"])))
        self.report.write([flat(row)])
        shown.print(row)

    def _code(self, path, baseline):
        """The row of one file.  Raises UserError."""
        target, levels = self.targets[path], self.wanted[path]
        if isinstance(target, UserError):
            raise target
        how = {"codec": self.options.codec, "folder": self.folder, "baseline": baseline, "target": target}
        if is_clip(path):
            return encode_clip(path, levels, of=self.options.scene, **how)
        return encode_image(path, levels[0][-1], **how)

    def _is_done(self, path, row, baseline):
        """Whether `row` of an earlier report, or None, is what this run would make."""
        if row is None or not Path(row["target"]).is_file():
            return False
        levels, at = self.wanted[path], None if baseline is None else nearest(baseline)
        lowest, coded = min(qp for *_, qp in levels), re.findall(SCENES, row["scenes"])
        # The level alone does not tell how the levels of a scene's frames became its QP.
        qps = scene_qps([(int(first), int(last)) for first, last, _ in coded], levels, self.options.scene)
        due = {"codec": self.options.codec, "target": str(self.targets[path]), "baseline qp": "" if at is None else at}
        return (
            all(row[name] == str(value) for name, value in due.items())
            and abs(float(row["level"]) - lowest) < 1e-3
            and ([qp for *_, qp in coded] or [row["qp"]]) == list(map(str, qps or [nearest(lowest)]))
        )

    def baseline(self):
        """The QP whose size the coded files are compared with; None where that says nothing."""
        if self.options.baseline is not None:
            return self.options.baseline
        levels = [level for levels in self.wanted.values() for *_, level in levels]
        return min(levels) if nearest(min(levels)) != nearest(max(levels)) else None


def flat(row):
    """A row of `common.encoding.encode` as one of the report."""
    parts = row.get("scenes", [])
    scenes = "; ".join(f"{s['start']}-{s['end']} QP {s['qp']}{own(row['parameter'], s)}" for s in parts)
    mapping = "; ".join(part["mapping"] for part in parts or [row] if part["mapping"])
    return {"path": row["input"], **{name: row.get(name) for name in COLUMNS[1:]}, "scenes": scenes, "mapping": mapping}


def own(parameter, part):
    """What another codec than H.264 has for the QP, for a person."""
    return f" {parameter} {part['value']}" if part["mapping"] else ""


class Table:
    """The rows as they come, for a person."""

    HEAD = "  QP       bytes  bit/px PSNR Y   SSIM  VMAF  saved"

    def __init__(self, paths):
        self.listing = Listing(map(str, paths), room=len(self.HEAD + "  CRF 26"))
        self.sizes, self.headed = [], False  # (bytes, bytes at the baseline) of each

    def add(self, rows):
        """Rows of an earlier report, which count but are not printed again."""
        self.sizes += [(int(row["bytes"]), int(row["baseline bytes"] or row["bytes"])) for row in rows]

    def print(self, row):
        if not self.headed:
            self.headed = True
            self.listing.print("coded", self.HEAD)
        self.sizes.append((row["bytes"], row["baseline bytes"] or row["bytes"]))
        ssim = row.get("ssim rgb", row.get("ssim luma"))
        ssim = "" if ssim is None else f"{ssim:.4f}"
        vmaf = "" if row["vmaf"] is None else f"{row['vmaf']:.1f}"
        saving = "" if row["saving %"] is None else f"{row['saving %']:.1f} %"
        line = f"  {row['qp']:>2} {row['bytes']:>11,}  {row['bits a pixel']:6.3f} {row['psnr luma']:6.2f}"
        self.listing.print(row["input"], f"{line} {ssim:>6} {vmaf:>5} {saving:>6} {own(row['parameter'], row)}")
        for scene in row.get("scenes", []) if len(row.get("scenes", [])) > 1 else []:
            said = own(row["parameter"], scene)
            tqdm.write(f"  frames {scene['start']} to {scene['end']}: QP {scene['qp']}{said}")

    def end(self, baseline):
        size, other = map(sum, zip(*self.sizes)) if self.sizes else (0, 0)
        against = ""
        if baseline is not None and other:
            against = f", {100 * (1 - size / other):.1f} % less than all of it at QP {nearest(baseline)}"
        print(f"{len(self.sizes)} files coded, {size:,} bytes{against}")
