"""The same work on many items, in threads, with progress."""

from concurrent.futures import ThreadPoolExecutor, as_completed

from tqdm import tqdm


def in_parallel(work, items, jobs, unit, stop=None):
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
