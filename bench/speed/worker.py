"""The process of one runtime: loads its model, then answers and times what it is asked over a socket.

    python worker.py RUNTIME MODEL THREADS SOCKET_NUMBER

It runs under the runtime's own interpreter and needs nothing but the standard library besides that runtime. Messages
are pickled tuples, (word, arguments...) one way and (True, result) or (False, error) the other.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from runtimes import RUNTIMES, Runtime


class Worker:
    """Answers and times batches; each has a name and is a list of calls."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.batches: dict[str, list[list[list[int]]]] = {}

    def can(self, length: int) -> bool:
        """Whether the runtime takes texts of this many tokens."""
        return self.runtime.can(length)

    def put(self, name: str, calls: list[list[list[int]]]) -> None:
        """Remember a batch."""
        self.batches[name] = calls

    def forget(self) -> None:
        """Forget all batches."""
        self.batches.clear()

    def answers(self, name: str) -> list[list[float]]:
        """The rows of every call, in order."""
        return [list(map(float, row)) for call in self.batches[name] for row in self.runtime.answer(call)]

    def time(self, name: str, repeats: int) -> dict[str, Any]:
        """Seconds of each pass through the batch, after one that does not count; how often the CPU was taken away."""
        answer, calls, clock = self.runtime.answer, self.batches[name], time.perf_counter
        for call in calls:
            answer(call)
        gc.collect()
        gc.disable()
        before = resource.getrusage(resource.RUSAGE_SELF)
        seconds = []
        for _ in range(repeats):
            start = clock()
            for call in calls:
                answer(call)
            seconds.append(clock() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        gc.enable()
        return {"seconds": seconds, "preempted": after.ru_nivcsw - before.ru_nivcsw}


def main() -> None:
    runtime, model, threads, socket = sys.argv[1:]
    connection = Connection(int(socket))
    try:
        loaded = RUNTIMES[runtime](model, int(threads))
        worker = Worker(loaded)
    except Exception as error:
        traceback.print_exc()
        connection.send((False, f"{type(error).__name__}: {error}"))
        return
    connection.send((True, {"version": loaded.version, "ragged": loaded.ragged, "one_at_a_time": loaded.one_at_a_time}))
    while True:
        try:
            word, *arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((True, getattr(worker, word)(*arguments)))
        except Exception as error:
            traceback.print_exc()
            connection.send((False, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
