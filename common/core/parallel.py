"""The same work on many items, in threads or batches, with a progress bar; not in `threads`: tqdm is slow to import."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import numpy as np

from common.core.terminal import progress
from common.core.threads import read_ahead

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    unit: str | None,
    stop: Callable[[], object] | None = None,
) -> list[Result]:
    """Return [work(item), ...], computed in `jobs` threads, and show progress, counted in `unit`; None shows none.

    The first error, or Ctrl-C, cancels the calls that wait and calls `stop`, which may end those that run.  An error
    then waits for these; Ctrl-C does not.
    """
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(work, item) for item in items]
        completed = as_completed(futures)
        for future in progress(completed, total=len(futures), unit=unit) if unit else completed:
            future.result()
        pool.shutdown()
        return [future.result() for future in futures]
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if stop:
            stop()
        if isinstance(error, Exception):
            pool.shutdown()
        raise


def batch_map(
    compute: Callable[[np.ndarray], Sequence[np.ndarray]],
    images: Iterator[np.ndarray],
    batch_size: int,
    total: int,
    name: str,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield what `compute` gives for each of `images`, a tuple, computed in batches; a progress bar is called `name`.

    The next batch is put together meanwhile.  Memory does not grow with the number of images, `total`.
    """

    def stacked():
        while batch := list(itertools.islice(images, batch_size)):
            yield np.stack(batch)

    with progress(total=total, unit="image", desc=name) as bar, read_ahead(stacked(), 1) as batches:
        for batch in batches:
            yield from zip(*compute(batch))
            bar.update(len(batch))
