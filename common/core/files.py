"""Files that are whole or not there at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.core.threads import WORKERS


def write_json(path, content):
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content))


def file_in(path, name):
    """The file that `path` names: itself where it has a suffix, else the file `name` in the folder `path`."""
    path = Path(path)
    return path if path.suffix and not path.is_dir() else path / name


def content_digest(*columns):
    """A digest of data: arrays, and lists of paths, whose files' contents count and not their names."""
    whole = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(WORKERS) as pool:
        for column in columns:
            if isinstance(column, np.ndarray):
                whole.update(np.ascontiguousarray(column))
            else:
                for part in pool.map(_file_digest, column):
                    whole.update(part)
    return whole.hexdigest()


def _file_digest(path):
    try:
        return file_digest(path, "blake2b").digest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def check_writable(path):
    """Raise UserError now, not when the work is done, where the file `path` cannot be written.  Makes nothing."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; expected a file, or a folder without such a suffix")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"{folder}: this is a file; expected a folder to write {path.name} to")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: this folder cannot be written to; give another one for {path.name}")


PART = ".part-"
"""How names of files start that are being written."""


def require_content(path, noun):
    """Raise UserError where the `noun` at `path` is empty, or no file, such as a pipe, which would be waited for."""
    found = os.stat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise UserError(f"{path}: {kind}, no file; expected a {noun}, save it as a file first")
    if not found.st_size:
        raise UserError(f"{path}: an empty file (0 bytes); copy the {noun} again")


@contextlib.contextmanager
def atomic_write(path):
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The file is flushed to the disk before it is renamed, so that neither a kill, a full disk nor a power cut
    leaves half a file under the final name; when the block fails, the old file, if any, is untouched.  The folder
    is made where it is missing.  The temporary name is PART and the final one: what a killed run left is replaced
    by the next, and Pillow, h5py and FFmpeg see the suffix that they look at.  An OSError names the final path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PART}{path.name}")
    try:
        with naming(path):
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_group(path):
    """Yield a temporary folder; when the block ends well, all in it goes beside `path`, and `path` itself last.

    So whoever finds `path`, a file or a folder, finds everything that belongs to it, whole and of one making: an old
    one is taken away first.  Else as `atomic_write`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PART}{path.name}")
    _discard(temporary)
    try:
        with naming(path):
            temporary.mkdir()
            yield temporary
            for part in temporary.rglob("*"):
                _flush(part)
            parts = sorted(temporary.iterdir(), key=lambda part: part.name == path.name)
            if path.exists():
                os.replace(path, temporary / f"{PART}old")
            for part in parts:
                os.replace(part, path.with_name(part.name))
    finally:
        _discard(temporary)


@contextlib.contextmanager
def naming(path):
    """Let an OSError name `path`, not what is written in its stead."""
    try:
        yield
    except OSError as error:
        # h5py keeps the number to itself and says it in its text.
        number = errno.ENOSPC if f"errno = {errno.ENOSPC}" in str(error) else error.errno
        raise OSError(number, os.strerror(number) if number else " ".join(str(error).split()), str(path)) from None


def _flush(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_digest(path, algorithm="sha256"):
    """hashlib's digest object of a file, read in pieces, as hashlib.file_digest of Python 3.11 makes it."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest


def sha256(path):
    """The SHA-256 of a file, as text."""
    return file_digest(path).hexdigest()


def check_disk_space(folder, size, what, advice):
    """Raise UserError when the disk of `folder`, which need not be there yet, has no `size` bytes left.

    what: what takes them, with its verb: "the features take".  advice: what to do besides making room.
    """
    folder = Path(folder)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise UserError(f"{folder}: {what} {megabytes(size)}, {megabytes(free)} are free; make room or {advice}")


def megabytes(size):
    """A number of bytes, for a person."""
    return f"{size / 1e6:,.1f} MB"


def write_csv(table, path):
    """Write a pandas table as the CSV file `path`, whole or not at all; names that are no UTF-8 stay as they are."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, errors="surrogateescape")
