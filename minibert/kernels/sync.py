"""Threads that run one job together: tickets for the next span, and a barrier.

Both are plain atomics on int64 counters in memory of the job. A barrier spins, since the others are microseconds away;
after a while it lets the operating system run somebody else, so that more threads than CPUs still make progress.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import I32, I64, llvm_function, pointer, word

_SPINS = 4000


@word(types.int64, types.int64)
def take_ticket(builder: ir.IRBuilder, counter: ir.Value) -> ir.Value:
    """The counter's value before one is added to it."""
    return builder.atomic_rmw("add", pointer(builder, counter, I64), ir.Constant(I64, 1), "acq_rel")


@word(types.int64, types.int64)
def _read(builder: ir.IRBuilder, counter: ir.Value) -> ir.Value:
    return builder.load_atomic(pointer(builder, counter, I64), "acquire", 8)


@word(types.void)
def _yield_cpu(builder: ir.IRBuilder) -> None:
    builder.call(llvm_function(builder, "sched_yield", I32, []), [])


@kernel(void, int64, int64)
def wait_for_team(barrier, threads):
    """Wait until all threads of the team are here. `barrier` is the address of a counter of arrivals, never reset."""
    if threads > 1:
        arrived = take_ticket(barrier) + 1
        goal = (arrived + threads - 1) // threads * threads
        spins = 0
        while _read(barrier) < goal:
            spins += 1
            if spins > _SPINS:
                _yield_cpu()
