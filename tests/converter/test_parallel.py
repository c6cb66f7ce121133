import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minibert_converter.parallel
from minibert_converter.parallel import side_by_side


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setattr(minibert_converter.parallel, "default_threads", lambda: 3)


def test_results_come_in_order_and_few_items_are_asked_for_ahead():
    asked, ready = [], threading.Event()

    def items():
        for number in range(20):
            asked.append(number)
            yield number

    def work(number):
        if number == 0:
            ready.wait(10)  # the first is the last to be done
        else:
            ready.set()
        return number * number

    results = []
    for result in side_by_side(work, items()):
        results.append(result)
        assert len(asked) <= len(results) + 2
    assert results == [number * number for number in range(20)]


def test_an_error_ends_the_rest():
    done = []

    def work(number):
        done.append(number)
        if number == 1:
            raise ValueError("one")
        return number

    with pytest.raises(ValueError, match="one"):
        list(side_by_side(work, range(1000)))
    assert len(done) < 10


def test_blas_has_one_thread_meanwhile():
    def threads(_):
        np.ones((2, 2)) @ np.ones((2, 2))
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before = threads(0)
    assert all(count == 1 for one in side_by_side(threads, range(3)) for count in one)
    assert threads(0) == before
