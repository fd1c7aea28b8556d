"""CSV tables: the label sheets that datasets are downloaded with, and the manifest of a dataset that we made."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError

MANIFEST = "manifest.csv"
SOURCE_COLUMNS = ("clip", "photograph", "picture")  # of a manifest: what an image was made from
SHOWN = 5  # examples of one kind


def read_table(
    file: Path, columns: Collection[str], limits: Mapping[str, tuple[float, float]], blanks: bool = False
) -> pd.DataFrame:
    """Read the `columns` of a CSV file as a table whose index is the line in the file; further columns are ignored.

    Args:
        limits: {column: (lowest, highest)} of the columns that hold numbers; the others hold text.
        blanks: Whether numbers may be left out (NaN).

    Raises:
        UserError: The file is missing or no CSV, a column is missing, or a value is not such a number.
    """
    expected = f"expected a CSV file with the columns {', '.join(columns)}"
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {expected}") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, IsADirectoryError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())}); {expected}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{file}: no column {', '.join(missing)}; {expected}")
    table.index += 2  # the header is line 1
    table = pd.DataFrame({column: table[column].str.strip() for column in columns})
    table = table.loc[(table != "").any(axis=1)]
    for column, (lowest, highest) in limits.items():
        numbers = pd.Series(pd.to_numeric(table[column], errors="coerce"))
        wrong = ~numbers.between(lowest, highest) & ~(blanks & (table[column] == ""))
        if wrong.any():
            line = wrong.idxmax()
            raise UserError(
                f"{file}:{line}: {column} is {table[column][line]!r}; expected a number from {lowest} to {highest}"
            )
        table[column] = numbers
    return table


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
    try:
        file = root / MANIFEST
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    except FileNotFoundError:
        return pd.DataFrame(), []
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        problem = f"{MANIFEST}: cannot be read ({' '.join(str(error).split())}); make the dataset again"
        return pd.DataFrame(), [problem]
    faults = []
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


def count_with_examples(what: str, found: Sequence[str]) -> list[str]:
    """Return ["2 clips in two splits: a; b"], a line that counts what was found and names the first; [] for nothing."""
    more = f" ... and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{len(found)} {what}: {'; '.join(found[:SHOWN])}{more}"] if found else []


def distinct(manifest: pd.DataFrame, column: str) -> list[str]:
    """Return the values of a column of a manifest, each once, in their order; [] where there is no such column."""
    return list(dict.fromkeys(manifest[column])) if column in manifest else []


def source_column(manifest: pd.DataFrame) -> str | None:
    """Return the column of a manifest that says what each image was made from, or None."""
    return next((column for column in SOURCE_COLUMNS if column in manifest), None)
