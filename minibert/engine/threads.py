"""A team: the threads that run a forward pass together, the caller's own and helpers beside it.

Helpers are made and woken by the kernels themselves (minibert.kernels.helpers), or, where these cannot, are threads of
Python. Where no helper can be had at all, as at a limit of processes, the caller does the work alone.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import weakref
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

import numpy as np

from minibert.engine.system import makes_helpers, system_table
from minibert.forking import unforked
from minibert.kernels import opcodes as op

_call = methodcaller("__call__")


class Team:
    """The caller and up to `len(jobs) - 1` helpers, each with its own job; helpers are started when first needed.

    No job ends before all have come to their end (minibert.kernels.interpreter): who has run the first one need not
    wait to be woken by the others.

    Args:
        run: the compiled entry point; it releases the interpreter lock.
        entry: its address.
        jobs: int64 [threads, JOB_FIELDS].
        memory: whatever helpers may look at beside the jobs; it lives as long as they do.
    """

    def __init__(self, run: Callable[[int], None], entry: int, jobs: np.ndarray, memory: Any) -> None:
        self._run = run
        self._jobs = jobs
        self._addresses = [job.ctypes.data for job in jobs]
        jobs[:, op.JOB_ENTRY] = entry
        if len(jobs) > 1:
            jobs[:, op.JOB_SYSTEM] = system_table()
        self._helpers = 0
        self._in_python: list[_PythonHelper] = []
        self._memory = (run, jobs, memory)
        self._full = False

    def ready(self, wanted: int) -> int:
        """Have so many helpers, or as many as there can be; how many."""
        while self._helpers < wanted and not self._full:
            if not self._started(self._helpers + 1):
                self._full = True
        return min(self._helpers, wanted)

    def run(self, helpers: int) -> None:
        """Run the first job on the caller's thread and the next ones by helpers, at once; return when all are done."""
        if not self._in_python:
            self._jobs[0, op.JOB_WAKE] = helpers
            self._run(self._addresses[0])
            return
        # A signal handler (Ctrl-C) may raise between any two lines of Python. None gets between the calls that one
        # `extend` makes: helpers that are started always find the caller at their side, who leaves when all are done.
        calls = [*(each.ready.release for each in self._in_python[:helpers]), partial(self._run, self._addresses[0])]
        called: list[None] = []
        called.extend(map(_call, calls))

    def _started(self, number: int) -> bool:
        """Whether there is a helper for a job now."""
        job = self._jobs[number]
        if makes_helpers():
            # The helper looks at this memory until it is stopped: also while the interpreter ends, when nothing stops
            # it, and everything else is freed.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))
            if job[op.JOB_KIND] != op.HELPED:  # as it may be, where an earlier call was interrupted
                job[op.JOB_KIND] = op.START
                self._run(self._addresses[number])
            if job[op.JOB_KIND] != op.HELPED:
                ctypes.pythonapi.Py_DecRef(ctypes.py_object(self._memory))
                return False
            self._at_the_end(_stop, job, self._memory, os.getpid())
        else:
            helper = _PythonHelper(self._run, self._addresses[number], self._memory)
            if not helper.started():
                return False
            self._in_python.append(helper)
            self._at_the_end(helper.stop)
        self._helpers = number
        return True

    def _at_the_end(self, function: Callable[..., None], *values: Any) -> None:
        """Have a function called when nobody has the team any more."""
        with unforked():  # the first finalizer of a process imports atexit
            weakref.finalize(self, function, *values).atexit = False


def _stop(job: np.ndarray, memory: tuple[Any, ...], process: int) -> None:
    """End a native helper and let its memory go."""
    if os.getpid() == process and job[op.JOB_KIND] == op.HELPED:  # a fork has no helpers
        job[op.JOB_KIND] = op.STOP
        memory[0](job.ctypes.data)
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(memory))


class _PythonHelper:
    """A daemon thread that waits for its turn and runs its job. Waiting costs nothing."""

    def __init__(self, run: Callable[[int], None], job: int, memory: object) -> None:
        self.run = run
        self.job = job
        self.memory = memory
        self.leaves = False
        self.thread = 0
        self.ready = _thread.allocate_lock()
        self.ready.acquire()
        self.begun = _thread.allocate_lock()
        self.begun.acquire()

    def started(self) -> bool:
        """Start the thread; whether there is one. A greenlet in its place is on the caller's own, and none."""
        try:
            _thread.start_new_thread(self._loop, ())
        except RuntimeError:  # a limit of threads, or the interpreter ends
            return False
        self.begun.acquire()
        return self.thread != _thread.get_native_id()

    def _loop(self) -> None:
        self.thread = _thread.get_native_id()
        self.begun.release()
        while True:
            self.ready.acquire()
            if self.leaves:
                return
            self.run(self.job)

    def stop(self) -> None:
        """End the thread when it waits next."""
        self.leaves = True
        self.ready.release()
