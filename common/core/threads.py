"""The same work on many items, in threads, with progress."""

import collections
import contextlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor, as_completed

from tqdm import tqdm

from common.core.malloc import keep_freed_memory

WORKERS = os.cpu_count() or 1
"""How many threads decode beside a network: as many as there are cores, since a network leaves gaps on all of them."""


@contextlib.contextmanager
def prefetch(load, paths, ahead=32, workers=None):
    """Start calling `load` on each of `paths` in threads; the block gets an iterator over what it returns, in order.

    At most `ahead` results wait at any time.  What `load` raises is raised when its result is due.
    workers: how many threads, by default WORKERS.
    """
    keep_freed_memory()
    pool, left = ThreadPoolExecutor(workers or WORKERS), iter(paths)
    waiting = collections.deque(pool.submit(load, path) for path in itertools.islice(left, ahead))

    def results():
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(load, path) for path in itertools.islice(left, 1))
            yield result

    try:
        yield results()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def parallel_map(work, items, jobs, unit, stop=None):
    """[work(item) ...], in `jobs` threads, with progress.

    The first error or Ctrl-C drops what has not begun, calls `stop`, which may end what has, and waits for that.
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
