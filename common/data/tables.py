"""CSV tables: the label sheets that datasets are downloaded with, and the manifest of a dataset that we made."""

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError
from common.data.delimited import Rows, drop_remarks, read_rows

MANIFEST = "manifest.csv"
SOURCE_COLUMNS = ("clip", "photograph", "picture")  # of a manifest: what an image was made from
SHOWN = 5  # examples of one kind


def read_table(
    file: Path, columns: Collection[str], limits: Mapping[str, tuple[float, float] | range], blanks: bool = False
) -> pd.DataFrame:
    """Read the `columns` of a CSV file as a table whose index is the line in the file; further columns are ignored.

    Args:
        limits: {column: (lowest, highest), or a range of whole numbers} where numbers are; other columns hold text.
        blanks: Whether numbers may be left out (NaN); those of a range may not.

    Raises:
        UserError: The file is missing or no CSV, a column is missing, or a value is not such a number.
    """
    expected = f"expected a CSV file with the columns {', '.join(columns)}"
    rows = read_rows(file, expected)
    if not rows.rows:
        raise UserError(f"{file}: cannot be read (no columns in it); {expected}")
    table = _as_table(rows, file, expected)
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{file}: no column {', '.join(missing)}; {expected}{rows.separated}")
    table = pd.DataFrame({column: table[column] for column in columns})
    for column, allowed in limits.items():
        lowest, highest, whole = allowed[0], allowed[-1], isinstance(allowed, range)
        texts = [text.replace(",", ".") if rows.separator in ";\t" else text for text in table[column]]
        numbers = pd.Series(pd.to_numeric(pd.Series(texts, table.index, dtype=str), errors="coerce"))
        wrong = ~numbers.between(lowest, highest) & ~(blanks & (table[column] == "")) | (whole & (numbers % 1 != 0))
        if wrong.any():
            line = wrong.idxmax()
            raise UserError(
                f"{file}:{line}: {column} is {table[column][line]!r}; "
                f"expected a {'whole ' * whole}number from {lowest} to {highest}{rows.separated}"
            )
        table = table.assign(**{column: numbers})
    return table


def read_header(file: Path) -> set[str]:
    """Return the names of the columns of a CSV file; none where it cannot be read."""
    try:
        rows = read_rows(file, "").rows
    except UserError:
        return set()
    return set(rows[0][1]) if rows else set()


def _as_table(rows: Rows, file: Path, expected: str) -> pd.DataFrame:
    """All columns as text; the index is the line in the file."""
    names = rows.rows[0][1]
    while names and not names[-1]:
        names.pop()
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise UserError(f"{file}:{rows.rows[0][0]}: two columns {twice[0]}; {expected}")
    body = Rows(rows.rows[1:], rows.separator)
    longer = drop_remarks(body, len(names))
    if longer:
        raise UserError(
            f"{file}:{longer}: more fields than the {len(names)} columns of the header; name each column there, and "
            f"put fields with commas into quotes; {expected}{rows.separated}"
        )
    fields = [values + [""] * (len(names) - len(values)) for _, values in body.rows]
    return pd.DataFrame(fields, pd.Index([line for line, _ in body.rows]), pd.Index(names), dtype=str)


def refuse_repeats(table: pd.DataFrame, column: str, file: Path) -> None:
    """Raise UserError where two rows of a table of `read_table` have the same value in `column`."""
    repeated = table[column].duplicated()
    if repeated.any():
        line = repeated.idxmax()
        raise UserError(f"{file}:{line}: {column} {table[column][line]} again; expected one row for each")


def read_list(text: str, highest: float, where: str) -> np.ndarray:
    """Return the numbers of a field such as "[25, 23]", each from 0 to `highest`, as an array.

    Raises UserError for anything else; it begins with `where`, which names the file, the row and the field.
    """
    try:
        numbers = np.array(json.loads(text), float)
    except (ValueError, TypeError):
        numbers = np.empty(0)
    if numbers.ndim != 1 or not numbers.size or not ((numbers >= 0) & (numbers <= highest)).all():
        raise UserError(f"{where} are {text!r}; expected a list of numbers from 0 to {highest}, such as [25, 23]")
    return numbers


def read_manifest(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return `root`/manifest.csv as a table of text, empty where there is none, and its faults, a line each."""
    file = root / MANIFEST
    if not file.exists():
        return pd.DataFrame(), []
    expected = "expected the columns split, image and so on; make the dataset again"
    try:
        rows = read_rows(file, expected, any_bytes=True)
        table = _as_table(rows, file, expected) if rows.rows else pd.DataFrame()
    except UserError as error:
        return pd.DataFrame(), [str(error).removeprefix(f"{root}{os.sep}")]
    faults = []
    if missing := [column for column in ("split", "image") if column not in table]:
        faults.append(f"{MANIFEST}: no column {' and '.join(missing)}; {expected}{rows.separated}")
    for column in ("unit", "labels"):
        if len(distinct(table, column)) > 1:
            kinds = " and ".join(distinct(table, column))
            faults.append(f"{MANIFEST}: labels of two kinds, {kinds}; keep them apart")
    for column in SOURCE_COLUMNS:
        if column in table and "split" in table:
            splits = table.groupby(column)["split"].nunique()
            faults += count_with_examples(
                f"{column}s in two splits", [str(name) for name, count in splits.items() if count > 1]
            )
    return table, faults


def count_with_examples(what: str, found: Sequence[str], count: int = 0) -> list[str]:
    """Return ["2 clips in two splits: a; b"], a line that counts what was found and names the first; [] for nothing.

    count: How many there are, where `found` holds only the first.
    """
    count = count or len(found)
    more = f" ... and {count - SHOWN} more" if count > SHOWN else ""
    return [f"{count} {what}: {'; '.join(found[:SHOWN])}{more}"] if count else []


def distinct(manifest: pd.DataFrame, column: str) -> list[str]:
    """Return the values of a column of a manifest, each once, in their order; [] where there is no such column."""
    return list(dict.fromkeys(manifest[column])) if column in manifest else []


def label_kinds(root: Path, manifest: pd.DataFrame) -> str:
    """Return what the labels of a dataset are, from its manifest, for a person."""
    unknown = f"{MANIFEST} has no column labels" if (root / MANIFEST).exists() else f"there is no {MANIFEST}"
    return " and ".join(distinct(manifest, "labels")) or f"of unknown origin: {unknown}"


def source_column(manifest: pd.DataFrame) -> str | None:
    """Return the column of a manifest that says what each image was made from, or None."""
    return next((column for column in SOURCE_COLUMNS if column in manifest), None)
