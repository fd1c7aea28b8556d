"""JND-Levels.txt, the label file of a split: a row of three numbers, JND1 JND2 JND3, for each image.

Rows follow the natural order of the images' names (`natural_key`); white space or commas separate the numbers.  A first
column with the file name is allowed and then decides (names with spaces need commas).  Blank lines, lines that start
with `#` and a header line are skipped.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from common.core.files import atomic_write
from common.core.names import natural_key
from common.media.images import IMAGE_SUFFIXES

Unit = Literal["QP", "QF"]
LABEL_FILE = "JND-Levels.txt"
HIGHEST = {"QP": 51, "QF": 100}
LINES_SHOWN = 20


def read_labels(file: Path, names: Sequence[str], unit: Unit) -> tuple[np.ndarray | None, list[str], list[str]]:
    """Read JND-Levels.txt: return (labels, problems, warnings).

    Args:
        names: File names of the images, in natural order.
        unit: QP (0 to 51, ascending) or QF (JPEG quality factors, 0 to 100, descending).

    Returns:
        The labels, float32 (N, 3), in the order of `names`, None with any problem; problems, a line each; warnings, a
        line each: rows in the wrong order.
    """
    try:
        rows, header = _split_lines(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problem = f"no such file; expected a row JND1 JND2 JND3 for each of {len(names)} images"
    except (UnicodeDecodeError, csv.Error):
        problem = "not UTF-8 text; save it as plain text"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); expected a text file"
    else:
        return _parse(rows, header, file, names, unit)
    return None, [f"{file}: {problem}"], []


def write_labels(folder: Path, names: Iterable[str], labels: Iterable) -> None:
    """Write `folder`/JND-Levels.txt: the rows of `labels` (N, 3), sorted into the natural order of the image `names`.

    There is no column of names, so that the released programs can read the file too.
    """
    rows = sorted(zip(names, labels, strict=True), key=lambda row: natural_key(row[0]))
    with atomic_write(Path(folder) / LABEL_FILE) as temporary:
        np.savetxt(temporary, [row for _, row in rows], fmt="%g")


def _parse(rows, header, file, names, unit):
    """The result of `read_labels` from the rows and the header line of `_split_lines`."""
    has_names = any(_is_image_name(fields[0]) for _, fields in rows)
    form = f"expected {'name, ' if has_names else ''}JND1, JND2, JND3, each {unit} 0 to {HIGHEST[unit]}"
    known, labels, line_of, unordered, problems = set(names), {}, {}, [], []
    for index, (line, fields) in enumerate(rows):
        name = fields.pop(0) if has_names else index
        if has_names and name not in known:
            problems.append(f"{file}:{line}: no image {name!r} here; {form} (with commas if names hold spaces)")
        elif name in line_of:
            problems.append(f"{file}:{line}: {name!r} again, it has a row in line {line_of[name]}; keep one of them")
        else:
            line_of[name] = line
            try:
                labels[name] = _three_numbers(fields, HIGHEST[unit])
            except ValueError as error:
                problems.append(f"{file}:{line}: {error}; {form}")
            else:
                if labels[name] != sorted(labels[name], reverse=unit == "QF"):
                    unordered.append(line)
    if has_names:
        problems += [f"{file}: no row for {name}; add one" for name in names if name not in line_of]
    elif len(rows) != len(names):
        below = f" below the header in line {header}" if header else ""
        problems.append(
            f"{file}: {len(rows)} rows{below}, but {len(names)} images; "
            "expected a row JND1 JND2 JND3 for each image, in natural order of file names"
        )
    warnings = [_order_warning(file, unordered, unit)] if unordered else []
    if problems:
        return None, problems, warnings
    return np.array([labels[name] for name in (names if has_names else range(len(names)))], np.float32), [], warnings


def _order_warning(file, lines, unit):
    order = "ascend" if unit == "QP" else "descend"
    rows_, lines_ = ("row", "line") if len(lines) == 1 else ("rows", "lines")
    shown = ", ".join(map(str, lines[:LINES_SHOWN])) + (", ..." if len(lines) > LINES_SHOWN else "")
    return f"{file.parent.name}/{file.name}: {len(lines)} {rows_} where levels do not {order} ({lines_} {shown})"


def _split_lines(text):
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
        if not rows and header is None and not any(_is_number(field) or _is_image_name(field) for field in fields):
            header = line
        else:
            rows.append((line, fields))
    return rows, header


def _three_numbers(fields, highest):
    """Return three floats; raise ValueError with what is wrong."""
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


def _is_image_name(field):
    return Path(field).suffix.lower() in IMAGE_SUFFIXES
