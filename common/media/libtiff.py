"""What libtiff says while Pillow decodes a TIFF.

It goes on after some damage, and only prints a line on standard error.  Here it tells us, where the system lets us find
it (Linux).
"""

import contextlib
import ctypes
import functools
import re
import threading
from collections.abc import Callable, Iterator

_heard = threading.local()


@contextlib.contextmanager
def listen() -> Iterator[Callable[[], str | None]]:
    """Let the block call the function that it is given: what is damaged in what this thread has decoded, or None."""
    _set_handlers()
    _heard.damage = None
    yield lambda: _heard.damage


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _error(module: bytes | None, form: bytes, values: int) -> None:
    _heard.damage = getattr(_heard, "damage", None) or f"libtiff, {(module or b'').decode(errors='replace')}"


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _warning(module: bytes | None, form: bytes, values: int) -> None:
    if re.match(rb"Fax|JPEGLib|LZW|ZIP|PackBits", module or b""):  # others are of tags that nobody needs
        _error(module, form, values)


@functools.cache
def _set_handlers() -> None:
    """Set libtiff's handlers for the whole process: they are not set by thread, but called in the one that decodes."""
    try:
        with open("/proc/self/maps") as maps:
            paths = set(re.findall(r"/\S*libtiff[^/\s]*\.so\S*", maps.read()))
        for path in paths:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(_error)
            library.TIFFSetWarningHandler(_warning)
    except (OSError, AttributeError):  # libtiff is part of another file, or this is no Linux
        pass
