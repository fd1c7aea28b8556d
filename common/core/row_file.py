"""A table on disk that grows row by row, so that a run of hours that is stopped can go on where it was."""

import contextlib
import csv
import fcntl
import json
import os
from pathlib import Path

from common.core.errors import UserError
from common.core.files import PART, naming

KINDS = (".csv", ".jsonl")


class RowFile:
    """Rows, dicts, as a CSV file or as JSON lines; takes its name when it is whole, and is called PART-name till then.

    done: the paths, as text, whose rows an earlier run left, in `kept`; what it may have been writing is left out.
    """

    def __init__(self, path, columns, *, resume=False, overwrite=False):
        """columns: names in order, "path" first.  Raises UserError where there is something that would be lost."""
        self.path, self.columns = Path(path), columns
        self.part = self.path.with_name(f"{PART}{self.path.name}")
        if self.path.suffix not in KINDS:
            raise UserError(f"{path}: expected a name that ends in {' or '.join(KINDS)}")
        self._refuse_another()
        old = next((file for file in (self.part, self.path) if file.exists()), None)
        if old and not resume and not overwrite:
            whose = "what an earlier run wrote" if old == self.path else "what an unfinished run left"
            raise UserError(f"{old}: {whose}; --resume goes on with it, --overwrite replaces it")
        self.kept = self._read(old) if old and resume else []
        self.done = {row["path"] for row in self.kept}
        self._file = None

    def forget(self, paths):
        """Leave out what is kept of these paths, given as text."""
        self.done -= set(paths)
        self.kept = [row for row in self.kept if row["path"] in self.done]

    def write(self, rows):
        """Add rows; they are on disk, as far as the system goes, when this returns."""
        with naming(self.part):
            if self._file is None:  # now, so that whoever changes their mind before the first row has changed nothing
                self._open()
            self._put(rows)

    def finish(self):
        """Give the file its name."""
        self.write([])
        with naming(self.path):
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.part, self.path)

    def _open(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beside what is there, until that stands here as well.
        fresh = self.part.with_name(f"{self.part.name}.new")
        self._file = open(fresh, "a", newline="", encoding="utf-8", errors="surrogateescape")
        self._lock(self._file)
        try:
            self._refuse_another()
            self._file.truncate(0)
            if self.path.suffix == ".csv":
                csv.writer(self._file).writerow(self.columns)
            self._put(self.kept)
            os.replace(fresh, self.part)
        except (OSError, UserError):
            fresh.unlink(missing_ok=True)
            raise

    def _refuse_another(self):
        """Raise UserError where another run is at work on the part; of a killed one nothing holds it."""
        with contextlib.suppress(FileNotFoundError), open(self.part) as part:
            self._lock(part)

    def _lock(self, file):
        """Hold an open file until it is closed."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another run is writing it; wait for it, or give another name") from None
        except OSError:  # a file system without locks
            pass

    def _put(self, rows):
        if self.path.suffix == ".csv":
            csv.DictWriter(self._file, self.columns, restval="").writerows(rows)
        else:
            self._file.writelines(f"{json.dumps({name: row.get(name) for name in self.columns})}\n" for row in rows)
        self._file.flush()

    def _read(self, file):
        rows = []
        try:
            with open(file, newline="", encoding="utf-8", errors="surrogateescape") as lines:
                if self.path.suffix == ".csv":
                    reader = csv.DictReader(lines)
                    found = list(reader)
                    rows = [row for row in found if None not in row and None not in row.values()]
                    names = reader.fieldnames
                else:
                    rows = [json.loads(line) for line in lines if line.endswith("}\n")]
                    names = list(rows[0]) if rows else self.columns
        except (csv.Error, ValueError) as error:
            raise UserError(f"{file}: cannot be gone on with ({error}); --overwrite replaces it") from None
        if list(names or []) != list(self.columns):
            raise UserError(f"{file}: has other columns than this run gives; --overwrite replaces it")
        if file == self.part and rows:
            rows = [row for row in rows if row["path"] != rows[-1]["path"]]
        return rows
