"""Files that are whole or not there at all; their digests; what is checked before they are written."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from common.core.errors import UserError
from common.core.names import PART
from common.core.stopping import discard, scratch
from common.core.threads import prefetch


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; when the block ends well, its file becomes `path`.

    The file is flushed to the disk before it is renamed, so that neither a kill, a full disk nor a power cut
    leaves half a file under the final name; when the block fails, the old file, if any, is untouched.  A missing
    folder is made.  The temporary name is PART and the final one: the next run replaces what a killed run left,
    and Pillow, h5py and FFmpeg see the suffix that they need.  An OSError names the final path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(path.with_name(f"{PART}{path.name}")) as temporary, naming_errors(path):
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_group(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well, all in it goes into the folder of `path`, `path` itself last.

    So whoever finds `path`, a file or a folder, finds everything that belongs to it, whole and of the same run: an old
    `path` is removed first.  Otherwise as `atomic_write`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(path.with_name(f"{PART}{path.name}")) as temporary, naming_errors(path):
        discard(temporary)  # what a killed run left
        temporary.mkdir()
        yield temporary
        for part in temporary.rglob("*"):
            _flush(part)
        parts = sorted(temporary.iterdir(), key=lambda part: part.name == path.name)
        if path.exists():
            os.replace(path, temporary / f"{PART}old")
        for part in parts:
            os.replace(part, path.with_name(part.name))


@contextlib.contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Let an OSError of the block name `path`, the file that the user knows, instead of a temporary one."""
    try:
        yield
    except OSError as error:
        # h5py gives the number in its text only.
        number = errno.ENOSPC if f"errno = {errno.ENOSPC}" in str(error) else error.errno
        raise OSError(number, os.strerror(number) if number else " ".join(str(error).split()), str(path)) from None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as a JSON file, whole or not at all."""
    write_text(path, json.dumps(content))


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file; None where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_csv(table: Any, path: str | Path) -> None:
    """Write a pandas DataFrame as a CSV file, whole or not at all; names that are not UTF-8 keep their bytes."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, errors="surrogateescape")


def write_text(path: str | Path, text: str) -> None:
    """Write text as a UTF-8 file, whole or not at all; names that are no UTF-8 are escaped in it."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_writable(path: str | Path) -> None:
    """Raise UserError where the file `path` cannot be written: now, not when the work is done.  Nothing is made."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; expected a file, or a folder without such a suffix")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"{folder}: this is a file; expected a folder to write {path.name} to")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: this folder cannot be written to; give another one for {path.name}")


def check_disk_space(folder: str | Path, size: float, what: str, advice: str) -> None:
    """Raise UserError where the disk of `folder`, which may not exist yet, has less than `size` bytes free.

    what: What needs them, with its verb: "the features take".  advice: What to do besides making room.
    """
    folder = Path(folder)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise UserError(f"{folder}: {what} {megabytes(size)}, {megabytes(free)} are free; make room or {advice}")


def megabytes(size: float) -> str:
    """Return a number of bytes as text, for a person."""
    return f"{size / 1e6:,.1f} MB"


def require_content(path: str | Path, noun: str) -> None:
    """Raise UserError where the `noun` at `path` is empty, or a pipe or a device, for which a reader would wait."""
    status = os.stat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise UserError(f"{path}: {kind}; expected a file, save the {noun} as one first")
    if not status.st_size:
        raise UserError(f"{path}: an empty file (0 bytes); copy the {noun} again")


def walk(folder: str | Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[tuple]:
    """Yield (folder, names of its folders, names of its files) as `os.walk`; a linked folder is entered, once.

    A link to a folder that is entered anyway, or to one above, is not followed.  What the caller takes out of the names
    of folders is not entered.
    """
    entered = [Path(folder).resolve()]
    for place, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        for name in list(folders):
            path = Path(place, name)
            if path.is_symlink():
                target = path.resolve()
                if any(target.is_relative_to(other) or other.is_relative_to(target) for other in entered):
                    folders.remove(name)
                else:
                    entered.append(target)
        yield place, folders, names


def file_stamp(path: str | Path) -> str:
    """Return the size and the time of change of a file, by which another of the same name is known; "" of none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    try:
        changed = f"{datetime.fromtimestamp(status.st_mtime, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError, OSError):  # a damaged file system's: no year from 1 to 9999
        changed = str(status.st_mtime_ns)
    return f"{status.st_size} bytes {changed}"


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, as text; one whose size and times of change are the same is read once."""
    status = os.stat(path)
    return _sha256(os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.cache
def _sha256(path, *unchanged):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(*columns: np.ndarray | Iterable[Path]) -> str:
    """Return a digest of arrays and of lists of paths; of their files the contents count and not the names."""

    def digest(path):
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "blake2b").digest()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    whole = hashlib.blake2b(digest_size=16)
    for column in columns:
        if isinstance(column, np.ndarray):
            whole.update(np.ascontiguousarray(column).data)
        else:
            with prefetch(digest, column) as digests:
                for part in digests:
                    whole.update(part)
    return whole.hexdigest()
