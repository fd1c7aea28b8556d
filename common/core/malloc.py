"""The C library's memory, for arrays as large as images."""

import ctypes
import functools


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc reuse the memory of large arrays; by default it returns it to the system and clears it for each image.

    Clearing takes longer than decoding a JPEG.  Up to 512 MB stay with the process.  Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper limit
    mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD
