"""Running lowered plans: memory, threads and the job that each forward pass is."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import numpy as np

from minibert.engine.batch import PackedBatch
from minibert.engine.library import Kernels
from minibert.engine.lower import Program, lower
from minibert.engine.schedule import CHUNK_TOKENS, cut
from minibert.engine.threads import Team
from minibert.format.schema import ALIGNMENT, Config
from minibert.kernels import opcodes as op
from minibert.plan import Plan


def _aligned(size: int) -> np.ndarray:
    """Zeroed bytes on a cache-line boundary; the operating system gives them when they are first touched."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def _address(array: np.ndarray) -> int:
    """Address of an array's memory, without the detour through ctypes."""
    return array.__array_interface__["data"][0]


class _Workspace:
    """The memory of one forward pass: an arena and a scratch for each thread, the jobs, and what they share."""

    def __init__(self, program: Program, threads: int) -> None:
        self.own_arenas = np.zeros(threads, np.int64)
        self.arenas = [_aligned(program.arena_bytes) for _ in range(threads)]
        self.scratches = [_aligned(program.scratch_bytes) for _ in range(threads)]
        self.shared_sums = _aligned(program.shared_sums_bytes if threads > 1 else ALIGNMENT)
        self.counters = _aligned(2 * ALIGNMENT).view(np.int64)
        self.jobs = np.zeros((threads, op.JOB_FIELDS), np.int64)
        self.addresses = [job.ctypes.data for job in self.jobs]
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


class Executor:
    """Runs a plan with compiled kernels on packed batches.

    Args:
        plan: what to run.
        config: the model's description.
        tensors: its tensors.
        kernels: loaded kernels.
        threads: how many threads share a forward pass.
    """

    def __init__(
        self, plan: Plan, config: Config, tensors: Mapping[str, np.ndarray], kernels: Kernels, threads: int
    ) -> None:
        tokens = max(CHUNK_TOKENS, config.architecture.max_positions)
        self.program = lower(plan, config, tensors, tokens, CHUNK_TOKENS)
        self.kernels = kernels
        self.threads = threads
        self.pooled = plan.output.rows == "texts"
        self.out_features = plan.out_features
        self._free: list[tuple[_Workspace, Team]] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _acquire(self) -> tuple[_Workspace, Team]:
        """A workspace and team that nobody uses: concurrent callers get one each."""
        with self._lock:
            if self._process != os.getpid():  # after a fork the parent's threads are not here
                self._free, self._process = [], os.getpid()
            if self._free:
                return self._free.pop()
        return _Workspace(self.program, self.threads), Team(self.kernels.run, self.threads - 1)

    def run(self, batch: PackedBatch) -> np.ndarray:
        """Rows of the plan's output for a packed batch: float32 [texts or tokens, out_features]."""
        rows = len(batch.starts) - 1 if self.pooled else int(batch.starts[-1])
        out = np.empty((rows, self.out_features), np.float32)
        spans = cut(batch.starts, CHUNK_TOKENS)
        if not len(spans):
            return out
        alone = len(spans) >= self.threads  # enough spans for each thread to work by itself
        workspace, team = self._acquire()
        try:
            workspace.counters[:] = 0
            workspace.jobs[:, : op.JOB_CALL_FIELDS] = (
                _address(batch.ids),
                _address(batch.token_types),
                _address(batch.starts),
                _address(spans),
                len(spans),
                _address(out),
                self.threads,
                not alone,
            )
            # A team works in one arena: the first thread's.
            workspace.jobs[:, op.JOB_ARENA] = workspace.own_arenas if alone else workspace.own_arenas[0]
            team.run(workspace.addresses)
        finally:
            with self._lock:
                self._free.append((workspace, team))
        return out
