"""JND-Levels.txt, the label file of a split: a row of three numbers, JND1 JND2 JND3, for each image.

Rows follow the natural order of the images' names (`natural_key`).  A column with the file name is allowed and then
decides.  A header line must name JND1, JND2 and JND3, and its order counts; or JND1 alone, where no more is known.
See `common.data.delimited` for what may separate the numbers, and what does not count (names with spaces need a
separator or quotes).
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write
from common.core.names import composed, natural_key
from common.data.delimited import Rows, drop_remarks, read_rows
from common.data.layout import LABEL_FILE, Unit
from common.media.formats import IMAGE_SUFFIXES

HIGHEST = {"QP": 51, "QF": 100}
LINES_SHOWN = 20
HEADING = re.compile(r"(?:jnd|level|qp|qf)?[ _.-]*([123])")  # of a column of a level, whatever its case


def read_labels(file: Path, names: Sequence[str], unit: Unit) -> tuple[np.ndarray | None, list[str], list[str]]:
    """Read JND-Levels.txt: return (labels, problems, warnings).

    Args:
        names: File names of the images, in natural order.
        unit: QP (0 to 51, ascending) or QF (JPEG quality factors, 0 to 100, descending).

    Returns:
        The labels, float32 (N, 3), in the order of `names`, NaN at the levels that a header does not name, None with
        any problem; problems, a line each; warnings, a line each: rows in the wrong order.
    """
    try:
        rows = read_rows(file, f"expected a row JND1 JND2 JND3 for each of {len(names)} images")
        rows, header, count = _order_columns(rows, file)
    except UserError as error:
        return None, [str(error)], []
    rows, number, separated = rows.rows, rows.number, rows.separated
    has_names = any(_is_image_name(fields[0]) for _, fields in rows)
    levels = "JND1, JND2, JND3, each" if count == 3 else "JND1,"
    form = f"expected {'name, ' if has_names else ''}{levels} {unit} 0 to {HIGHEST[unit]}"
    known = {composed(name): name for name in names} | {name: name for name in names}
    labels, line_of, unordered, problems = {}, {}, [], []
    for index, (line, fields) in enumerate(rows):
        given = fields.pop(0) if has_names else ""
        name = known.get(given, known.get(composed(given))) if has_names else index
        if name is None:
            problems.append(
                f"{file}:{line}: no image {given!r} here; {form} (with commas if names hold spaces){separated}"
            )
        elif name in line_of:
            problems.append(f"{file}:{line}: {name!r} again, it has a row in line {line_of[name]}; keep one of them")
        else:
            line_of[name] = line
            try:
                values = _numbers(fields, count, HIGHEST[unit], number)
            except ValueError as error:
                problems.append(f"{file}:{line}: {error}; {form}{separated}")
            else:
                labels[name] = values + [np.nan] * (3 - count)
                if values != sorted(values, reverse=unit == "QF"):
                    unordered.append(line)
    if has_names:
        problems += [f"{file}: no row for {name}; add one" for name in names if name not in line_of]
    elif len(rows) != len(names):
        below = f" below the header in line {header}" if header else ""
        problems.append(
            f"{file}: {len(rows)} rows{below}, but {len(names)} images; "
            f"expected a row {'JND1 JND2 JND3' if count == 3 else 'JND1'} for each image, "
            f"in natural order of file names{separated}"
        )
    warnings = [_order_warning(file, unordered, unit)] if unordered else []
    if problems:
        return None, problems, warnings
    return np.array([labels[name] for name in (names if has_names else range(len(names)))], np.float32), [], warnings


def write_labels(folder: Path, names: Iterable[str], labels: Iterable) -> None:
    """Write `folder`/JND-Levels.txt: the rows of `labels` (N, 3), sorted into the natural order of the image `names`.

    There is no column of names, so that the released programs can read the file too.  Where JND2 and JND3 are NaN,
    it is a column of JND1 with a header.
    """
    rows = sorted(zip(names, labels, strict=True), key=lambda row: natural_key(row[0]))
    table = np.array([row for _, row in rows])
    known = ~np.isnan(table).any(axis=0)
    with atomic_write(Path(folder) / LABEL_FILE) as temporary:
        np.savetxt(temporary, table[:, known], fmt="%g", header="" if known.all() else "JND1", comments="")


def _order_warning(file, lines, unit):
    order = "ascend" if unit == "QP" else "descend"
    rows_, lines_ = ("row", "line") if len(lines) == 1 else ("rows", "lines")
    shown = ", ".join(map(str, lines[:LINES_SHOWN])) + (", ..." if len(lines) > LINES_SHOWN else "")
    return f"{file.parent.name}/{file.name}: {len(lines)} {rows_} where levels do not {order} ({lines_} {shown})"


def _order_columns(rows, file):
    """The rows without their header, with the columns [name,] JND1[, JND2, JND3]; the header's line or None; 1 or 3."""
    words = [word.casefold() for word in rows.comment[1]]
    if rows.rows and {"jnd1", "jnd2", "jnd3"} <= set(words) and len(words) == len(rows.rows[0][1]):
        rows = Rows([rows.comment, *rows.rows], rows.separator)
    if not rows.rows or any(rows.is_number(field) or _is_image_name(field) for field in rows.rows[0][1]):
        return rows, None, 3
    (line, header), *body = rows.rows
    place = {f"JND{found[1]}": i for i, name in enumerate(header) if (found := HEADING.fullmatch(name.casefold()))}
    headings = [name for name in header if HEADING.fullmatch(name.casefold())]
    if sorted(place) not in (["JND1"], ["JND1", "JND2", "JND3"]) or len(headings) != len(place):
        raise UserError(
            f"{file}:{line}: the header {' '.join(header)!r} does not name the levels; expected JND1, JND2 and JND3 in "
            f"it, or no header{rows.separated}"
        )
    order = [place[level] for level in sorted(place)]
    others = [i for i in range(len(header)) if i not in order]
    named = [i for i in others if any(_is_image_name(fields[i]) for _, fields in body if i < len(fields))][:1]
    if not named and body and all(len(fields) > len(order) and _is_image_name(fields[0]) for _, fields in body):
        named, order = [0], [i + 1 for i in order]  # the header names the levels only
    elif longer := drop_remarks(Rows(body, rows.separator), len(header)):
        raise UserError(f"{file}:{longer}: more fields than the header in line {line} names; expected one for each")
    ordered = [(number, [fields[i] if i < len(fields) else "" for i in (*named, *order)]) for number, fields in body]
    return Rows(ordered, rows.separator), line, len(order)


def _numbers(fields, count, highest, number):
    """Return `count` floats; raise ValueError with what is wrong.  Empty fields and a comment may follow."""
    for i, field in enumerate(fields):
        if "#" in field:
            fields = [*fields[:i], field.partition("#")[0].strip()]
            break
    while fields and not fields[-1]:
        fields.pop()
    values = []
    for field in fields:
        try:
            values.append(number(field))
        except ValueError:
            raise ValueError(f"{field!r} is not a number") from None
        if not math.isfinite(values[-1]):
            raise ValueError(f"{field} is not a finite number")
        if not 0 <= values[-1] <= highest:
            hint = " (JPEG quality factors? --label_unit QF)" if highest < values[-1] <= HIGHEST["QF"] else ""
            raise ValueError(f"{field} is outside 0 to {highest}{hint}")
    if len(values) != count:
        due = "three are" if count == 3 else "one is"
        raise ValueError(f"{len(values)} number{'s' * (len(values) != 1)} where {due} due")
    return values


def _is_image_name(field):
    return Path(field).suffix.lower() in IMAGE_SUFFIXES
