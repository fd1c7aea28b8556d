"""Text with a row a line, as people and their programs save it: the one reader of label files, sheets and manifests.

Separators are commas, semicolons, tabs or white space; fields may stand in double quotes; the text is UTF-8 or, with a
byte order mark, UTF-16.  Blank lines, rows of empty fields and lines that start with `#` do not count, but NumPy
writes a header as such a line.
"""

import codecs
import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

from common.core.errors import UserError

LONGEST = 20_000  # characters of a line; a table of a million columns would take a minute
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Rows(NamedTuple):
    """The rows of a file, the first of which may be a header."""

    rows: list[tuple[int, list[str]]]  # (line in the file, its fields without white space around them)
    separator: str  # a comma, a semicolon, a tab, or a blank for any white space
    comment: tuple[int, list[str]] = (0, [])  # the last comment above them: its line and its words

    @property
    def separated(self) -> str:
        """What an error message adds where the separator is one that few expect."""
        return "; the file is separated by ;" if self.separator == ";" else ""

    def number(self, field: str) -> float:
        """Return the number in a field; between semicolons or tabs its decimals may follow a comma.  Or ValueError."""
        if "_" in field:  # 2_4 is 24 in Python only
            raise ValueError(f"{field!r} is not a number")
        return float(field.replace(",", ".") if self.separator in ";\t" else field)

    def is_number(self, field: str) -> bool:
        """Return whether `number` can read a field."""
        try:
            self.number(field)
        except ValueError:
            return False
        return True


def read_rows(file: Path, expected: str, *, any_bytes: bool = False) -> Rows:
    """Read a file.

    Args:
        expected: What the file should be, for messages: "expected a CSV file with ...".
        any_bytes: Bytes that are not UTF-8 are kept as `os.fsdecode` keeps them, for names of files.

    Raises:
        UserError: The file cannot be read, is no such text, has a line above LONGEST, or a quote in it is not closed.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {expected}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {expected}") from None
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding, "surrogateescape" if any_bytes and encoding != "utf-16" else "strict")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; save it as plain text (UTF-8); {expected}") from None
    if "\0" in text:
        raise UserError(f"{file}: not UTF-8 text (it has zero bytes); save it as plain text (UTF-8); {expected}")
    # A comment may hold quotes that mean nothing; line breaks of all systems become \n.
    written = list(io.StringIO(text, newline=None))
    lines = ["\n" if re.match(r"\s*#", line) else line for line in written]
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST:
            raise UserError(f"{file}:{number}: {len(line):,} characters, at most {LONGEST:,} are read; {expected}")
    if lines and (excel := re.fullmatch(r'"?sep=([,;\t])"?\n?', lines[0])):
        lines[0] = "\n"
    first = next((line.strip("\n") for line in lines if line.strip(" ,;\t\n")), "")
    separator = excel[1] if lines and excel else _separator(first)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator != " ", strict=True)
    rows, line = [], 1
    try:
        for fields in reader if separator != " " else map(_words, lines):
            if len(fields) == 1 and separator != " " and '"' not in lines[line - 1]:
                fields = _words(fields[0])
            fields = [field.strip() for field in fields]
            if any(fields):
                rows.append((line, fields))
            line = reader.line_num + 1 if separator != " " else line + 1
    except csv.Error as error:
        raise UserError(f"{file}:{line}: cannot be read ({error}); is a quote missing? {expected}") from None
    above = [number for number in range(1, rows[0][0] if rows else 0) if written[number - 1].strip()]
    comment = (above[-1], re.findall(r"[^\s,;#]+", written[above[-1] - 1])) if above else (0, [])
    return Rows(rows, separator, comment)


def _separator(line: str) -> str:
    """The separator of a line, the first that is not blank."""
    line = re.sub(r"\s*([,;])\s*", r"\1", re.sub(r'"(?:[^"]|"")*"', "", line))
    counts = {separator: line.count(separator) for separator in ";\t,"}
    most = max(counts, key=lambda separator: counts[separator])
    # A comma may be part of a number only beside two other separators.
    return next((separator for separator in ";\t" if counts[separator] >= 2), most if counts[most] else " ")


def _words(line: str) -> list[str]:
    """The fields of a line that are separated by white space; one in double quotes may hold some."""
    return [
        quoted.replace('""', '"') if quoted else word for quoted, word in re.findall(r'"((?:[^"]|"")*)"|(\S+)', line)
    ]


def drop_remarks(rows: Rows, header: int) -> int | None:
    """Cut each row to `header` fields; return the line of a row whose further fields may be values, or None.

    Empty fields, which spreadsheets write, and words are cut off; a number is not.
    """
    for line, fields in rows.rows:
        if any(map(rows.is_number, fields[header:])):
            return line
        del fields[header:]
    return None
