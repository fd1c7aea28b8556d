"""The same work on many items, in threads, with a progress bar; not in `threads`, because tqdm is slow to import."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


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
