"""Independent parts of a pass side by side, on as many threads as there are CPUs.

NumPy's BLAS would share every product among threads of its own, which spin between products that are mostly small:
twice the CPU's time for little of the clock's. So each part has one thread of BLAS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from minibert.engine.processors import default_threads

T = TypeVar("T")
R = TypeVar("R")


def one_blas_thread() -> AbstractContextManager[object]:
    """BLAS keeps to the threads that call it."""
    return threadpool_limits(1, "blas")


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `work` makes of each item, in their order; items are asked for as threads become free, for memory's sake.

    The caller's thread makes the items, so the others are one fewer than there are CPUs.
    """
    threads = max(1, default_threads() - 1)
    running: deque[Future[R]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for one in running:
                one.cancel()
