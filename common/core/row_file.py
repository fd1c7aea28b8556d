"""A table on disk that grows row by row, so that a run of hours that was stopped can go on from there."""

import contextlib
import csv
import functools
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

from common.core.errors import UserError
from common.core.files import naming_errors
from common.core.locks import lock_open_file
from common.core.messages import warn
from common.core.names import PART, one_line
from common.core.stopping import kept, scratch

SUFFIXES = (".csv", ".jsonl")


STAMP = "file"
"""The column of `file_stamp`, the last; versions before it kept rows by the files' names alone."""


def _json_lines(rows: Iterable[dict], columns: Sequence[str]) -> Iterator[str]:
    for row in rows:
        yield f"{json.dumps({name: row.get(name) for name in columns})}\n"


class RowStream:
    """Rows as JSON lines on a stream, each when it is known, with the methods of a RowFile; None drops them."""

    kept_rows: Sequence[dict] = ()
    kept_paths: Collection[str] = ()

    def __init__(self, stream: TextIO | None, columns: Sequence[str]):
        self.stream, self.columns = stream, columns

    def write(self, rows: Iterable[dict]) -> None:
        """Write rows; the reader has them when this returns."""
        if self.stream:
            self.stream.writelines(_json_lines(rows, self.columns))
            self.stream.flush()

    def forget_changed(self, stamps: Mapping[str, str]) -> None:
        """Do nothing: no rows of an earlier run are kept."""

    def finish(self) -> None:
        """Do nothing: every row has been written."""


class RowFile:
    """Rows (dicts) as a CSV file or as JSON lines, under the name PART-name until `finish` gives the file its own.

    Attributes:
        kept_rows: The rows of an earlier run, without those of the input that it was working on when it stopped.
        kept_paths: Their paths, as text.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], *, resume: bool = False, overwrite: bool = False):
        """Read what an earlier run left; nothing is written yet.  columns: Names in order, "path" first, STAMP last.

        Raises UserError where a file would be lost, cannot be continued, or is being written by another run.
        """
        self.path, self.columns = Path(path), columns
        self._part = self.path.with_name(f"{PART}{self.path.name}")
        if self.path.suffix not in SUFFIXES:
            raise UserError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
        self._refuse_second_run()
        earlier = next((file for file in (self._part, self.path) if file.exists()), None)
        if earlier and not resume and not overwrite:
            origin = "what an earlier run wrote" if earlier == self.path else "what an unfinished run left"
            raise UserError(f"{earlier}: {origin}; --resume goes on with it, --overwrite replaces it")
        self.kept_rows = self._read(earlier) if earlier and resume else []
        self.kept_paths = {row["path"] for row in self.kept_rows}
        if resume and earlier == self._part:
            self._note()

    def _note(self) -> None:
        kept[self] = f"the rows so far in {self._part}, --resume goes on with them"

    def forget(self, paths: Iterable[str]) -> None:
        """Keep no rows of these paths, given as text."""
        self.kept_paths -= set(paths)
        self.kept_rows = [row for row in self.kept_rows if row["path"] in self.kept_paths]

    def forget_changed(self, stamps: Mapping[str, str]) -> None:
        """Keep no rows of files that have changed since, and say so.  stamps: {path as text: its `file_stamp` now}."""
        earlier = {row["path"]: row[STAMP] for row in self.kept_rows}
        if "" in earlier.values():
            line = "rows of an earlier version, which does not say of which files: kept by their names"
            warn(f"{self.path}: {line}")
        changed = [path for path, stamp in earlier.items() if stamp and stamps.get(path, "") not in ("", stamp)]
        if changed:
            others = f" and {len(changed) - 1} others" if changed[1:] else ""
            line = f"changed since {self.path} was written: done again"
            warn(f"{one_line(changed[0])}{others}: {line}")
        self.forget(changed)

    def write(self, rows: Iterable[dict]) -> None:
        """Add rows; the system has them when this returns, so that a kill does not lose them."""
        with naming_errors(self._part):
            self._write(self._file, rows)

    def finish(self) -> None:
        """Give the file its name."""
        self.write([])
        with naming_errors(self.path):
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self.path)
        kept.pop(self, None)

    @functools.cached_property  # opened by the first `write`: a run that ends before it changes nothing
    def _file(self) -> IO:
        """Write the kept rows to a new file, and put it in the place of the part when they are all there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self._part.with_name(f"{self._part.name}.new")
        file = open(new, "a", newline="", encoding="utf-8", errors="surrogateescape")
        self._lock(file)
        with scratch(new):
            self._refuse_second_run()
            file.truncate(0)
            if self.path.suffix == ".csv":
                csv.writer(file).writerow(self.columns)
            self._write(file, self.kept_rows)
            os.replace(new, self._part)
        self._note()
        return file

    def _refuse_second_run(self) -> None:
        with contextlib.suppress(FileNotFoundError), open(self._part) as part:
            self._lock(part)

    def _lock(self, file: IO) -> None:
        if not lock_open_file(file):
            raise UserError(f"{self.path}: another run is writing it; wait for it, or give another name")

    def _write(self, file: IO, rows: Iterable[dict]) -> None:
        if self.path.suffix == ".csv":
            csv.DictWriter(file, self.columns, restval="").writerows(rows)
        else:
            file.writelines(_json_lines(rows, self.columns))
        file.flush()

    def _read(self, file: Path) -> list[dict]:
        """The rows of a file, without a last line that is cut off."""
        try:
            with open(file, newline="", encoding="utf-8", errors="surrogateescape") as lines:
                if self.path.suffix == ".csv":
                    reader = csv.DictReader(lines)
                    rows = [row for row in reader if None not in row and None not in row.values()]
                    names = reader.fieldnames
                else:
                    rows = [json.loads(line) for line in lines if line.endswith("}\n")]
                    names = list(rows[0]) if rows else self.columns
        except (csv.Error, ValueError) as error:
            raise UserError(f"{file}: cannot be continued ({error}); --overwrite replaces it") from None
        if STAMP in self.columns and list(names or []) == list(self.columns[:-1]):
            names, rows = self.columns, [{**row, STAMP: ""} for row in rows]
        if list(names or []) != list(self.columns):
            raise UserError(f"{file}: has other columns than this run writes; --overwrite replaces it")
        if file == self._part and rows:  # the last file's rows may not all be there
            rows = [row for row in rows if row["path"] != rows[-1]["path"]]
        return rows
