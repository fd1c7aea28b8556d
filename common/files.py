"""Files that are whole or not there at all."""

import contextlib
import os
import uuid
from pathlib import Path


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The file is flushed to the disk before it is renamed, so that neither a kill, a full disk nor a power cut
    leaves half a file under the final name; when the block fails, the old file, if any, is untouched.  The folder
    is made where it is missing.  The temporary name starts with ".part-" and keeps the suffix, which Pillow, h5py and
    FFmpeg look at.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
