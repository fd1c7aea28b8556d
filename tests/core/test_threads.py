"""Work on many items in threads."""

import threading
import time

import pytest

from common.core.parallel import parallel_map
from common.core.threads import filled_memory, prefetch, read_ahead


def test_prefetched_results_come_in_order_and_few_wait():
    started = []

    def load(item):
        started.append(item)
        time.sleep(0.01 * (item % 3))
        return 1 / (item - 20)

    with prefetch(load, range(100), ahead=4, workers=3) as results:
        for item in range(20):
            assert next(results) == 1 / (item - 20) and len(started) <= item + 5
        with pytest.raises(ZeroDivisionError):  # when its turn comes, not when it happens
            next(results)
    assert len(started) < 30


def test_an_iterator_is_read_ahead_to_its_end_or_its_error():
    def numbers():
        yield from range(3)
        raise ZeroDivisionError

    with read_ahead(iter(range(5)), ahead=2) as items:
        assert list(items) == [0, 1, 2, 3, 4]
    with read_ahead(numbers(), ahead=2) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ZeroDivisionError):
            next(items)


def test_the_first_error_stops_what_runs_and_drops_what_waits():
    stopped, done = threading.Event(), []

    def work(item):
        if item == 0:
            raise ValueError("the first")
        stopped.wait(30)
        done.append(item)

    with pytest.raises(ValueError, match="the first"):
        parallel_map(work, range(100), jobs=3, unit="item", stop=stopped.set)
    assert len(done) < 10
    assert parallel_map(str, range(5), jobs=2, unit="item") == ["0", "1", "2", "3", "4"]


def test_memory_is_filled_for_one_thread_at_a_time():
    """The first would end it for the second, which then takes a damaged TIFF for a whole one."""
    entered = threading.Event()

    def fill():
        with filled_memory(2):
            entered.set()

    other = threading.Thread(target=fill)
    with filled_memory(1):
        other.start()
        assert not entered.wait(0.3)
    assert entered.wait(30)
    other.join()
