"""The report of `predict --encode`: rows of a file, and a table for a person."""

import re
from collections.abc import Iterable

from tqdm import tqdm

from common.core.row_file import STAMP
from common.core.terminal import Listing

COLUMNS = (
    "path,target,codec,level,qp,parameter,value,mapping,bytes,bits a pixel,kb/s,psnr luma,lowest psnr luma,psnr rgb,"
    "ssim luma,ssim rgb,vmaf,frames,seconds,scenes,baseline qp,baseline value,baseline bytes,saving %,warning"
).split(",") + [STAMP]


def report_row(row: dict) -> dict:
    """Return a row of `common.encoding.encode` with COLUMNS, its scenes and their mappings as text."""
    parts = row.get("scenes", [])
    scenes = "; ".join(f"{s['start']}-{s['end']} QP {s['qp']}{_setting(row['parameter'], s)}" for s in parts)
    mapping = "; ".join(part["mapping"] for part in parts or [row] if part["mapping"])
    return {"path": row["input"], **{name: row.get(name) for name in COLUMNS[1:]}, "scenes": scenes, "mapping": mapping}


def is_damaged(row: dict) -> bool:
    """Return whether a row that was read from a report lacks a number that every row has."""
    try:
        numbers = [*_sizes(row), float(row["level"]), *(read_scenes(row).values() or [int(row["qp"])])]
    except ValueError:
        return True
    return min(numbers) < 0


def read_scenes(row: dict) -> dict[tuple[int, int], int]:
    """Return {(first frame, last frame): QP} of the scenes in a row of a report."""
    scenes = re.findall(r"(\d+)-(\d+) QP (\d+)", row["scenes"])
    return {(int(first), int(last)): int(qp) for first, last, qp in scenes}


def _sizes(row: dict) -> tuple[int, int]:
    """Return the bytes of the file of a row, and at the baseline."""
    return int(row["bytes"]), int(row["baseline bytes"] or row["bytes"])


def _setting(parameter: str, part: dict) -> str:
    """Return what another encoder than H.264 has in place of the QP: " crf 27"; "" for H.264."""
    return f" {parameter} {part['value']}" if part["mapping"] else ""


class ReportTable:
    """Prints a line for each encoded file, and the sum of them against all files at the QP `baseline`."""

    HEAD = "  QP       bytes  bit/px PSNR Y   SSIM  VMAF  saved"

    def __init__(self, paths: Iterable, baseline: int | None):
        self.listing = Listing(map(str, paths), len(self.HEAD + "  CRF 26"), ("encoded", self.HEAD))
        self.baseline = baseline
        self.sizes: list[tuple[int, int]] = []  # bytes of each file, and at the baseline

    def count(self, row: dict) -> None:
        """Add the bytes of a row to the sum."""
        self.sizes.append(_sizes(row))

    def print(self, row: dict) -> None:
        """Print a row of `common.encoding.encode`, with a line for each of several scenes."""
        self.count(row)
        ssim = row.get("ssim rgb", row.get("ssim luma"))
        ssim = "" if ssim is None else f"{ssim:.4f}"
        vmaf = "" if row["vmaf"] is None else f"{row['vmaf']:.1f}"
        saving = "" if row["saving %"] is None else f"{row['saving %']:.1f} %"
        line = f"  {row['qp']:>2} {row['bytes']:>11,}  {row['bits a pixel']:6.3f} {row['psnr luma']:6.2f}"
        line += f" {ssim:>6} {vmaf:>5} {saving:>6} {_setting(row['parameter'], row)}"
        self.listing.print(row["input"], line)
        scenes = row.get("scenes", [])
        for scene in scenes if len(scenes) > 1 else []:
            setting = _setting(row["parameter"], scene)
            tqdm.write(f"  frames {scene['start']} to {scene['end']}: QP {scene['qp']}{setting}")

    def print_sum(self) -> None:
        """Print the sum of all bytes, and how much that saves against the baseline."""
        size, other = map(sum, zip(*self.sizes)) if self.sizes else (0, 0)
        saved = ""
        if self.baseline is not None and other:
            percent = 100 * (1 - size / other)
            saved = f", {percent:.1f} % less than all of it at QP {self.baseline}"
        files = "1 file" if len(self.sizes) == 1 else f"{len(self.sizes)} files"
        print(f"{files} encoded, {size:,} bytes{saved}")
