"""Locks between processes."""

import contextlib
import fcntl

from common.core.errors import UserError


@contextlib.contextmanager
def exclusive_lock(path):
    """Hold the lock file `path`, or raise UserError where another process does; a killed one does not."""
    made = [folder for folder in path.absolute().parents if not folder.exists()]  # the innermost first
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path.parent}: another training writes these files now; give another folder") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # they hold something: the training has begun
                for folder in made:
                    folder.rmdir()
