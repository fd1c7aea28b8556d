"""Label sheets as CSV files, read with an eye for what is wrong in them."""

import json

import numpy as np
import pandas as pd

from common.core.errors import UserError


def read_table(file, columns, limits, blanks=False):
    """Read the `columns` of a CSV file as a table whose index is the line in the file; further columns are ignored.

    limits: {column: (lowest, highest)} of those that hold numbers; blanks: whether these may be empty (NaN).
    Raises UserError, which names file and line, where it is missing, no CSV, lacks a column or a number is none.
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
    table = table[list(columns)].apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)]
    for column, (lowest, highest) in limits.items():
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = ~numbers.between(lowest, highest) & ~(blanks & (table[column] == ""))
        if wrong.any():
            line = wrong.idxmax()
            raise UserError(
                f"{file}:{line}: {column} is {table[column][line]!r}; expected a number from {lowest} to {highest}"
            )
        table[column] = numbers
    return table


def refuse_repeats(table, column, file):
    """Raise UserError where two rows of a table of `read_table` have one value in `column`."""
    again = table[column].duplicated()
    if again.any():
        line = again.idxmax()
        raise UserError(f"{file}:{line}: {column} {table[column][line]} again; expected one row for each")


def read_list(text, highest, where):
    """The numbers of a field such as "[25, 23]" as an array.  where: of what, for the UserError where it is no such."""
    try:
        found = np.array(json.loads(text), float)
    except (ValueError, TypeError):
        found = np.empty(0)
    if found.ndim != 1 or not found.size or not ((0 <= found) & (found <= highest)).all():
        raise UserError(f"{where} are {text!r}; expected a list of numbers from 0 to {highest}, such as [25, 23]")
    return found
