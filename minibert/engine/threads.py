"""A team: persistent threads that each run one job of a forward pass, beside the caller's own thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller

_call = methodcaller("__call__")


class _Worker:
    """A daemon thread that waits for the address of a job and runs it. Waiting costs nothing."""

    def __init__(self, run: Callable[[int], None], memory: object) -> None:
        self.run = run
        self.memory = memory
        self.job: int | None = None
        self.ready = threading.Lock()
        self.ready.acquire()
        threading.Thread(target=self._loop, name="minibert", daemon=True).start()

    def _loop(self) -> None:
        while True:
            self.ready.acquire()
            if self.job is None:
                return
            self.run(self.job)

    def stop(self) -> None:
        self.job = None
        self.ready.release()


class Team:
    """`helpers` threads and the caller. With no helpers no thread is ever started.

    No job ends before all have come to their end (minibert.kernels.interpreter): who has run the first one need not
    wait to be woken by the others.

    Args:
        run: the compiled entry point; it releases the interpreter lock.
        helpers: threads beside the caller's; they start at the first call that has work for them.
        memory: what the jobs lie in; it lives as long as a helper may look at it.
    """

    def __init__(self, run: Callable[[int], None], helpers: int, memory: object) -> None:
        self.call = run
        self.helpers = helpers
        self.memory = memory
        self.workers: list[_Worker] = []
        weakref.finalize(self, _stop, self.workers)

    def run(self, jobs: Sequence[int]) -> None:
        """Run all jobs at once, the first one on the caller's thread; return when all are done."""
        if len(jobs) == 1:
            self.call(jobs[0])
            return
        others = jobs[1:]
        while len(self.workers) < len(others):
            self.workers.append(_Worker(self.call, self.memory))
        helpers = self.workers[: len(others)]
        for worker, job in zip(helpers, others, strict=True):
            worker.job = job
        calls = [*(worker.ready.release for worker in helpers), partial(self.call, jobs[0])]
        # A signal handler (Ctrl-C) may raise between any two lines of Python. None gets between the calls that one
        # `extend` makes: helpers that are started always find the caller at their side, who leaves when all are done.
        called: list[None] = []
        called.extend(map(_call, calls))


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()
