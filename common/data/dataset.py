"""The rootdir layout: find the pictures of a split, pair them with their labels and JND frames, check everything.

    rootdir/train/      pictures and JND-Levels.txt; likewise valid/ and test/
    rootdir/jnd1train/  the frames of train/ at JND1, named as its pictures; likewise jnd2train/, jnd1valid/ ...

`JND-Levels.txt` has a row of three numbers, JND1 JND2 JND3, for each picture, in the natural order of the file names
(`natural_key`), separated by white space or commas.  A first column with the file name is allowed and then decides
(names with spaces need commas).  Blank lines, lines that start with `#` and a header line are skipped.
"""

import csv
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.core.errors import UserError
from common.core.files import atomic_write
from common.core.names import natural_key
from common.media.images import IMAGE_SUFFIXES, read_image

SPLITS = ("train", "valid", "test")
LEVELS = ("JND1", "JND2", "JND3")
LEVELS_FILE = "JND-Levels.txt"
_HIGHEST = {"QP": 51, "QF": 100}
_LINES_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one split, in natural order, with their labels.

    `levels` is float32 (N, 3): JND1, JND2, JND3 of each picture in QP, 0 to 51 (or JPEG quality factors, 0 to 100), or
    None where there is no label file.
    """

    name: str
    folder: Path
    images: tuple[Path, ...]
    levels: np.ndarray | None

    def __len__(self):
        return len(self.images)


def list_images(folder):
    """Return the paths of the pictures that lie in `folder` itself, in natural order; hidden files do not count."""
    return sorted(
        (
            path
            for path in Path(folder).iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
        ),
        key=lambda path: natural_key(path.name),
    )


def read_splits(root, names, *, labels="required", scale="QP", decode=True, progress=None):
    """Read the splits `names` of the rootdir `root`: return ({name: Split}, [warning, ...]).

    labels: "required"; "optional": a missing label file gives `levels` None, a wrong one is still an error; or
    "ignored".
    scale: "QP" (0 to 51, ascending) or "QF" (JPEG quality factors, 0 to 100, descending).
    decode: decode every picture once, on all cores, to find the broken ones before work starts;
    `progress(done, total)`, where given, is called after each.

    Raises UserError that lists all that is wrong in all these splits: on one line, or as an indented list.  A warning
    is a line for a person as well: levels that run the wrong way.
    """
    root, splits, problems, warnings = Path(root), {}, [], []
    for name in names:
        folder = root / name
        if not folder.is_dir():
            problems.append(f"{folder}: no such folder; expected pictures and {LEVELS_FILE} in it")
            continue
        pictures, levels = tuple(list_images(folder)), None
        if not pictures:
            problems.append(f"{folder}: no pictures; expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}")
        elif labels == "required" or (labels == "optional" and (folder / LEVELS_FILE).exists()):
            file_names = [picture.name for picture in pictures]
            levels = _read_levels(folder / LEVELS_FILE, file_names, scale, problems, warnings)
        splits[name] = Split(name, folder, pictures, levels)
    if decode:
        problems += _broken([picture for split in splits.values() for picture in split.images], progress)
    _raise_together(problems, root)
    return splits, warnings


def match_frames(split, folder, *, decode=True, progress=None):
    """Return the paths in `folder`, such as rootdir/jnd1train, that belong to the pictures of `split`, in their order.

    A frame belongs to the picture of its name; the suffix may differ.  Frames beyond those are ignored.  `decode` and
    `progress` are those of `read_splits`.  Raises UserError that lists the missing, ambiguous and broken ones together.
    """
    folder, frames, problems = Path(folder), [], []
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the JND frames of {split.folder}, named as its pictures")
    by_name = {}
    for frame in list_images(folder):
        by_name.setdefault(frame.stem, []).append(frame)
    owners = {}
    for picture in split.images:
        owner = owners.setdefault(picture.stem, picture)
        found = by_name.get(picture.stem, [])
        if owner is not picture:
            problems.append(f"{picture}: named as {owner.name}, so that frames could be of either; rename one")
        elif not found:
            problems.append(f"{folder}: no frame of {split.name}/{picture.name}; expected {picture.stem}.png or such")
        elif len(found) > 1:
            problems.append(f"{folder}: {', '.join(f.name for f in found)} all match {picture.name}; keep one of them")
        else:
            frames += found
    if decode:
        problems += _broken(frames, progress)
    _raise_together(problems, folder.parent)
    return tuple(frames)


def write_levels(folder, names, levels):
    """Write `folder`/JND-Levels.txt: the rows of `levels` (N, 3), brought into the natural order of the file `names`.

    Without the column of names, so that the released programs can read it too.
    """
    rows = sorted(zip(names, levels, strict=True), key=lambda row: natural_key(row[0]))
    with atomic_write(Path(folder) / LEVELS_FILE) as temporary:
        np.savetxt(temporary, [row for _, row in rows], fmt="%g")


def _read_levels(file, names, scale, problems, warnings):
    """Return the levels in `file`, float32 (N, 3), in the order of the picture `names`; problems join the lists."""
    try:
        rows, header = _rows(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(f"{file}: no such file; expected a row JND1 JND2 JND3 for each of {len(names)} pictures")
    except (UnicodeDecodeError, csv.Error):
        problems.append(f"{file}: not UTF-8 text; save it as plain text")
    except OSError as error:
        problems.append(f"{file}: cannot be read ({error.strerror}); expected a text file")
    else:
        return _check_rows(rows, header, file, names, scale, problems, warnings)


def _check_rows(rows, header, file, names, scale, problems, warnings):
    named = any(_is_picture_name(fields[0]) for _, fields in rows)
    form = f"expected {'name, ' if named else ''}JND1, JND2, JND3, each {scale} 0 to {_HIGHEST[scale]}"
    known, levels, line_of, wrong_way, wrong = set(names), {}, {}, [], len(problems)
    for index, (line, fields) in enumerate(rows):
        name = fields.pop(0) if named else index
        if named and name not in known:
            problems.append(f"{file}:{line}: no picture {name!r} here; {form} (with commas if names hold spaces)")
        elif name in line_of:
            problems.append(f"{file}:{line}: {name!r} again, it has a row in line {line_of[name]}; keep one of them")
        else:
            line_of[name] = line
            try:
                levels[name] = _levels(fields, _HIGHEST[scale])
            except ValueError as error:
                problems.append(f"{file}:{line}: {error}; {form}")
            else:
                if levels[name] != sorted(levels[name], reverse=scale == "QF"):
                    wrong_way.append(line)
    if named:
        problems += [f"{file}: no row for {name}; add one" for name in names if name not in line_of]
    elif len(rows) != len(names):
        below = f" below the header in line {header}" if header else ""
        problems.append(
            f"{file}: {len(rows)} rows{below}, but {len(names)} pictures; "
            "expected a row JND1 JND2 JND3 for each picture, in natural order of file names"
        )
    if wrong_way:
        way = "ascend" if scale == "QP" else "descend"
        rows_, lines_ = ("row", "line") if len(wrong_way) == 1 else ("rows", "lines")
        shown = ", ".join(map(str, wrong_way[:_LINES_SHOWN])) + (", ..." if len(wrong_way) > _LINES_SHOWN else "")
        warnings.append(
            f"{file.parent.name}/{file.name}: {len(wrong_way)} {rows_} where levels do not {way} ({lines_} {shown})"
        )
    if len(problems) == wrong:
        return np.array([levels[name] for name in (names if named else range(len(names)))], np.float32)


def _rows(text):
    """Return [(line number, fields), ...] of a label file, and the line number of its header or None."""
    rows, header = [], None
    for line, content in enumerate(text.splitlines(), 1):
        content = content.strip().rstrip(", \t")  # spreadsheets write empty cells
        if not content or content.startswith("#"):
            continue
        if "," in content:
            fields = [field.strip() for field in next(csv.reader([content], skipinitialspace=True))]
        else:
            fields = content.split()
        if not rows and header is None and not any(_is_number(field) or _is_picture_name(field) for field in fields):
            header = line
        else:
            rows.append((line, fields))
    return rows, header


def _levels(fields, highest):
    """Return three levels, as a list of floats; raise ValueError with what is wrong."""
    for field in fields:
        if not _is_number(field):
            raise ValueError(f"{field!r} is not a number")
        if not math.isfinite(float(field)):
            raise ValueError(f"{field} is not a finite number")
        if not 0 <= float(field) <= highest:
            raise ValueError(f"{field} is outside 0 to {highest}")
    if len(fields) != 3:
        raise ValueError(f"{len(fields)} number{'s' * (len(fields) != 1)} where three are due")
    return [float(field) for field in fields]


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_picture_name(field):
    return Path(field).suffix.lower() in IMAGE_SUFFIXES


def _broken(pictures, progress):
    """Decode each of `pictures` and return what is wrong with them, a line each."""

    def problem(path):
        try:
            read_image(path)
        except UserError as error:
            return str(error)

    problems = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, found in enumerate(pool.map(problem, pictures), 1):
            if found:
                problems.append(found)
            if progress:
                progress(done, len(pictures))
    return problems


def _raise_together(problems, root):
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        shown = [problem.removeprefix(f"{root}{os.sep}") for problem in problems[:_LINES_SHOWN]]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise UserError("\n  ".join([f"{len(problems)} problems in {root}:", *shown, *more]))


def folder_of(split, level=""):
    """The folder of a split's pictures, or of their frames at a level: "train", "jnd1train"."""
    return f"{level.lower()}{split}"


def load_splits(data_dir, names, **how):
    """common.data.dataset.read_splits with a progress bar, its warnings printed: {name: Split}."""
    with tqdm(unit="picture", desc="checking pictures", disable=None, leave=False) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        splits, warnings = read_splits(data_dir, names, progress=progress, **how)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return splits
