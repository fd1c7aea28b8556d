"""How many cores there are, and the same work on many items in threads."""

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

from common.core.malloc import keep_freed_memory

CORES: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""How many cores this process may use.  A Dask worker sets its own share: read it as `threads.CORES`, when needed."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def prefetch(
    load: Callable[[Item], Result], items: Iterable[Item], ahead: int = 32, workers: int | None = None
) -> Iterator[Iterator[Result]]:
    """Call `load` on each item in threads while the block runs, which gets the results in order.

    An exception of `load` is raised when its result is due.

    Args:
        ahead: how many results wait at most.
        workers: how many threads; by default one a core, since a network that takes the results leaves gaps on each.
    """
    keep_freed_memory()
    pool, left = ThreadPoolExecutor(workers or CORES), iter(items)
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


def parallel_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    unit: str,
    stop: Callable[[], object] | None = None,
) -> list[Result]:
    """Return [work(item), ...], computed in `jobs` threads, and show progress, counted in `unit`.

    The first error, or Ctrl-C, cancels the calls that wait, calls `stop`, which may end those that run, and waits for
    them.
    """
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(work, item) for item in items]
        for future in tqdm(as_completed(futures), total=len(futures), unit=unit, disable=None):
            future.result()
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        if stop:
            stop()
        raise
    finally:
        pool.shutdown()
