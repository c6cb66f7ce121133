"""Threads that run one job together: tickets for the next span, and a barrier.

Both are plain atomics on int64 counters in the job's memory. A barrier spins, since the others are microseconds away.
If they take longer, one of them has lost its CPU to another program, and those that wait sleep in naps: a thread that
has slept is scheduled first when it wakes, while one that yields goes behind all others (with a busy program on each
CPU a forward pass then took four times as long).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minibert.kernels import opcodes as op
from minibert.kernels.emit import I32, I64, load, pointer
from minibert.kernels.kernel import int64, intrinsic, kernel, void
from minibert.kernels.simd import load_i64

#: Half a millisecond or so: longer than steps that are shared out unevenly make anyone wait.
_SPINS = 400_000


@intrinsic(int64, int64)
def take_ticket(builder: ir.IRBuilder, counter: ir.Value) -> ir.Value:
    """The counter's value before one is added to it."""
    return builder.atomic_rmw("add", pointer(builder, counter, I64), ir.Constant(I64, 1), "acq_rel")


@intrinsic(int64, int64)
def _read(builder: ir.IRBuilder, counter: ir.Value) -> ir.Value:
    return builder.load_atomic(pointer(builder, counter, I64), "acquire", 8)


def system_function(builder: ir.IRBuilder, system: ir.Value, entry: int, result: ir.Type, *arguments: ir.Type) -> Any:
    """A function of the system, by its entry in the table at the address `system`."""
    place = builder.add(system, ir.Constant(I64, 8 * entry))
    return builder.inttoptr(load(builder, place, I64, 8), ir.FunctionType(result, arguments).as_pointer())


@intrinsic(void, int64)
def _nap(builder: ir.IRBuilder, system: ir.Value) -> None:
    length = load(builder, builder.add(system, ir.Constant(I64, 8 * op.NAP_LENGTH)), I64, 8)
    builder.call(system_function(builder, system, op.NAP, I32, I32), [builder.trunc(length, I32)])


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
                system = load_i64(barrier + 8)
                if system != 0:
                    _nap(system)
