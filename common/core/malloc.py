"""The C library's memory, for arrays as large as pictures."""

import ctypes
import functools


@functools.cache
def keep_freed_memory():
    """Let glibc reuse the memory of big arrays instead of handing it back and clearing it anew for each picture.

    That takes longer than decoding a JPEG does.  Up to 512 MB stay with the process; another C library is left alone.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: the most it allows
    mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD
