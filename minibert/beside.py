"""Work on a thread beside the caller's, whose result is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class _Beside(threading.Thread, Generic[_T]):
    def __init__(self, work: Callable[[], _T]) -> None:
        super().__init__()
        self._work = work
        self._done: list[_T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, and keep what comes of it."""
        try:
            self._done.append(self._work())
        except BaseException as error:
            self._error = error

    def result(self) -> _T:
        """What came of it."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._done[0] if self._done else self._work()  # in a fork the thread is not there


def begun(work: Callable[[], _T]) -> Callable[[], _T]:
    """Work begun beside the caller's, whose result this gives; where no thread can be started, done when asked for."""
    beside = _Beside(work)
    try:
        beside.start()
    except RuntimeError:
        return work
    return beside.result
