"""How many cores there are, results computed ahead in threads, and the memory that they need."""

import collections
import contextlib
import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

CORES: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""How many cores this process may use.  A Dask worker sets its own share: read it as `threads.CORES`, when needed."""

_filling = threading.Lock()

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def prefetch(
    load: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None, workers: int | None = None
) -> Iterator[Iterator[Result]]:
    """Call `load` on each item in threads while the block runs, which gets the results in order.

    An exception of `load` is raised when its result is due.

    Args:
        ahead: How many results wait at most; by default 32, or two a core where that is more.
        workers: How many threads; by default one a core, since a network that takes the results leaves gaps on each.
    """
    keep_freed_memory()
    pool, left = ThreadPoolExecutor(workers or CORES), iter(items)
    ahead = ahead or max(32, 2 * CORES)
    waiting = collections.deque(pool.submit(load, item) for item in itertools.islice(left, ahead))

    def results():
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(load, item) for item in itertools.islice(left, 1))
            yield result

    try:
        yield results()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def read_ahead(items: Iterator[Item], ahead: int) -> Iterator[Iterator[Item]]:
    """Go through an iterator in a thread while the block runs, which gets the items; at most `ahead` of them wait."""
    end: Any = object()
    with prefetch(lambda _: next(items, end), itertools.count(), ahead, workers=1) as results:
        yield itertools.takewhile(lambda item: item is not end, results)


@functools.cache
def keep_freed_memory(large: bool = False) -> None:
    """Let glibc reuse the memory of large arrays; by default it returns it to the system and clears it for each image.

    Clearing takes longer than decoding a JPEG.  Up to 512 MB stay with the process.  Other C libraries are left alone.

    large: Keep arrays above 32 MB too.  A training takes and frees them in each step: clearing them was 39 % of LAT's
        processor time.  It costs memory, 986 -> 1,227 MB there.
    """
    _mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper limit
    _mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD
    if large:
        _mallopt(-4, 0)  # M_MMAP_MAX


@contextlib.contextmanager
def filled_memory(value: int) -> Iterator[None]:
    """Let glibc fill the memory that is taken in the block with a byte, 1 to 255: what is never written there shows."""
    keep_freed_memory()  # else large arrays are zero, whatever this says
    with _filling:  # it is the process's: another thread must not end it within the block
        _mallopt(-6, value)  # M_PERTURB
        try:
            yield
        finally:
            _mallopt(-6, 0)


def _mallopt(parameter: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(parameter, value)
