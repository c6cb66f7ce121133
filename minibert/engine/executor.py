"""Running lowered plans: memory, threads and the job that each forward pass is."""

from __future__ import annotations

import _thread
import os
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache

import numpy as np

from minibert.engine.batch import PackedBatch
from minibert.engine.chunks import chunk_tokens, cut_evenly
from minibert.engine.crossover import ratios
from minibert.engine.library import Kernels
from minibert.engine.lower import Program, lower
from minibert.engine.memory import address, empty
from minibert.engine.system import system_table
from minibert.engine.threads import Team
from minibert.errors import UnsupportedError
from minibert.format.constants import ALIGNMENT, MAX_TOKEN_HEADS
from minibert.format.schema import Config
from minibert.kernels import opcodes as op
from minibert.plan import Plan

#: Multiply-adds of a forward pass from which on more threads than the caller's take part: a quarter of a millisecond.
WORTH_WAKING = 6e7
#: Workspaces that are kept for the next calls; what a burst of callers had beyond that is freed.
KEPT_WORKSPACES = 4
#: Seconds after which a caller that waits for a workspace looks for itself: one that was lost is given back by nobody.
_PATIENCE = 0.02
#: Bytes that one thread may work in: the longest text that a model takes needs so much. Addresses only, until it comes.
MAX_WORKSPACE = 32 << 30


class _Seat:
    """The right to have a workspace; who holds one counts."""


class _Workspace:
    """What one forward pass works in and with: an arena, a scratch and a job a thread, what they share, and a team."""

    def __init__(self, program: Program, threads: int, kernels: Kernels, seat: _Seat) -> None:
        self.seat = seat
        self.own_arenas = np.zeros(threads, np.int64)
        self.arenas = [empty(program.arena_bytes) for _ in range(threads)]
        self.scratches = [empty(program.scratch_bytes) for _ in range(threads)]
        self.shared_sums = empty(program.shared_sums_bytes if threads > 1 else ALIGNMENT)
        self.counters = empty(2 * ALIGNMENT).view(np.int64)
        self.counters[:] = 0
        if threads > 1:
            self.counters[ALIGNMENT // 8 + 1] = system_table()  # behind the barrier's
        self.jobs = empty(threads * op.JOB_FIELDS * 8).view(np.int64).reshape(threads, op.JOB_FIELDS)
        common = {
            op.JOB_TABLE: program.table.ctypes.data,
            op.JOB_STEPS: len(program.table),
            op.JOB_SHARED_SUMS: self.shared_sums.ctypes.data,
            op.JOB_TICKETS: self.counters.ctypes.data,
            op.JOB_BARRIER: self.counters.ctypes.data + ALIGNMENT,
            op.JOB_MOST_WIDTH: program.most_width,
        }
        self.own_arenas[:] = [arena.ctypes.data for arena in self.arenas]
        for number, job in enumerate(self.jobs):
            for entry, value in common.items():
                job[entry] = value
            job[op.JOB_SCRATCH] = self.scratches[number].ctypes.data
            job[op.JOB_THREAD] = number
        memory = (kernels, program, self.arenas, self.scratches, self.shared_sums, self.counters)
        self.team = Team(kernels.run, kernels.entry, self.jobs, memory)


class Executor:
    """Runs a plan with compiled kernels on packed batches.

    Args:
        plan: what to run.
        config: the model's description.
        tensors: its tensors.
        kernels: loaded kernels.
        threads: how many threads share a forward pass.
        dense_tokens: for how many tokens at once a block-sparse matrix of some density is multiplied as a dense one;
            what was measured on this machine if None.
        max_concurrency: forward passes at once; callers beyond that wait.
    """

    def __init__(
        self,
        plan: Plan,
        config: Config,
        tensors: Mapping[str, np.ndarray],
        kernels: Kernels,
        threads: int,
        dense_tokens: Callable[[float], range] | None = None,
        max_concurrency: int = KEPT_WORKSPACES,
    ) -> None:
        self.chunk_tokens: int = chunk_tokens(config.linears)
        tokens = max(self.chunk_tokens, config.architecture.max_positions)
        recorded = cache(lambda: ratios(kernels.isa))  # read only if a matrix has blocks
        crossover = dense_tokens or (lambda density: recorded().dense_tokens(density))
        self.program: Program = lower(plan, config, tensors, tokens, self.chunk_tokens, kernels.isa, crossover)
        needed = self.program.arena_bytes + self.program.scratch_bytes
        if needed > MAX_WORKSPACE:
            raise UnsupportedError(
                f"a text of {tokens} tokens would need {needed} bytes to work in; the limit is {MAX_WORKSPACE}"
            )
        self.kernels = kernels
        self.threads = threads
        self.plan = plan
        self.pooled: bool = plan.output.rows == "texts"
        # Lent and given back by operations that are atomic: no lock that a fork could catch closed, or an interruption.
        self._most = max_concurrency
        self._own()

    def _own(self) -> None:
        """Begin without workspaces, and say whose they will be: after a fork the parent's threads are not here."""
        self._free: list[_Workspace] = []
        self._seats: weakref.WeakSet[_Seat] = weakref.WeakSet()
        self._waiting: deque[_thread.LockType] = deque()
        self._process = os.getpid()

    @property
    def workspace_bytes(self) -> int:
        """Memory that one call works in: an arena and scratch a thread, and the sums that a team makes together."""
        shared = self.program.shared_sums_bytes if self.threads > 1 else 0
        return self.threads * (self.program.arena_bytes + self.program.scratch_bytes) + shared

    def _borrow(self) -> _Workspace:
        """A workspace that nobody uses; where there are as many as there may be, the next that is given back.

        Whoever is interrupted while it has one loses it: it is freed, and counts no more.
        """
        while True:
            if self._process != os.getpid():
                self._own()
            try:
                return self._free.pop()
            except IndexError:
                seat = _Seat()
                self._seats.add(seat)  # first: of two that take the last one at once both see one too many
                if len(self._seats) <= self._most:
                    return _Workspace(self.program, self.threads, self.kernels, seat)
                del seat
            turn = _thread.allocate_lock()
            turn.acquire()
            self._waiting.append(turn)
            if not turn.acquire(timeout=_PATIENCE):
                with suppress(ValueError):
                    self._waiting.remove(turn)

    def _give_back(self, workspace: _Workspace) -> None:
        if len(self._free) < max(KEPT_WORKSPACES, len(self._waiting)):
            self._free.append(workspace)
        with suppress(IndexError):
            self._waiting.popleft().release()

    def run(self, batch: PackedBatch) -> list[np.ndarray]:
        """Rows of the plan's output for a packed batch, and of its token outputs: as of `empty_rows`."""
        output_starts = batch.output_starts(self.pooled)
        outs = empty_rows(self.plan, batch, output_starts)
        if len(batch.starts) == 1:
            return outs
        places = [address(out) for out in outs]
        # Little work is done before another thread has woken up; with enough spans, each thread works by itself.
        workers = self.threads if int(batch.starts[-1]) * self.program.macs > WORTH_WAKING else 1
        spans = cut_evenly(batch.starts, self.chunk_tokens, workers)
        workspace = self._borrow()
        try:
            if (ready := workspace.team.ready(workers - 1) + 1) < workers:
                workers = ready
                spans = cut_evenly(batch.starts, self.chunk_tokens, workers)
            alone = len(spans) >= workers
            workspace.counters[0] = 0  # the tickets; arrivals at the barrier count on from call to call
            workspace.jobs[:, : op.JOB_CALL_FIELDS] = (
                address(batch.ids),
                address(batch.token_types),
                address(batch.starts),
                address(spans),
                len(spans),
                *places,
                *[0] * (MAX_TOKEN_HEADS + 1 - len(places)),
                0 if batch.wanted is None else address(batch.wanted),
                address(output_starts),
                0 if batch.attended is None else address(batch.attended),
                workers,
                not alone,
            )
            # A team works in one arena: the first thread's.
            workspace.jobs[:, op.JOB_ARENA] = workspace.own_arenas if alone else workspace.own_arenas[0]
            workspace.team.run(workers - 1)
        finally:
            self._give_back(workspace)
        return outs


def empty_rows(plan: Plan, batch: PackedBatch, output_starts: np.ndarray) -> list[np.ndarray]:
    """Room for the rows of a plan's output, float32 [texts or tokens, out_features], and of its token outputs.

    Those are float32 [tokens, columns] each.
    """
    tokens = int(batch.starts[-1])
    shapes = [(int(output_starts[-1]), plan.out_features), *((tokens, columns) for _, columns in plan.token_outputs)]
    return [np.empty(shape, np.float32) for shape in shapes]
