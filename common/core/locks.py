"""Locks between processes; the system frees those of a process that is killed."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock

from common.core.errors import UserError
from common.core.stopping import scratch

UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a file system without locks says.  It stops no run: there, two runs are the user's own affair."""


@contextlib.contextmanager
def exclusive_lock(path: Path, refusal: str | None = None) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; then remove it, and the folders that were made only for it.

    Args:
        refusal: What the UserError says where another process holds the lock, after the folder's name.  None waits for
            that process, and leaves the folders, since a third may wait as well.
    """
    new_folders = [folder for folder in path.absolute().parents if refusal and not folder.exists()]
    # Without soft locks: these outlive a killed process.
    lock = filelock.FileLock(path, timeout=-1 if refusal is None else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"{path.parent}: {refusal}") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    try:
        with scratch(path):  # removed before the release, so that it cannot be the next process's
            yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # a folder that holds something: the work has begun
            for folder in new_folders:  # the innermost first
                folder.rmdir()


def lock_open_file(file: IO) -> bool:
    """Lock `file` until it is closed; return False where another process holds it."""
    try:
        return filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # a file system without locks, or one that locks no file opened for reading only
        return True
