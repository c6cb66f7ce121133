"""Helpers: threads of the operating system that run the jobs of a team beside the caller, without Python.

A helper is made by the C library, sleeps on a futex and is woken by the caller's own call into compiled code: so there
is one whatever Python's threads are made of (gevent), also while the interpreter ends, and none can be interrupted
between two lines of Python. Only Linux has them; elsewhere the table at JOB_SYSTEM has no functions for it, and `start`
leaves the job as it is.

A job's JOB_CALLS counts the calls that its helper is to take part in. The helper looks at it for a while, since the
next call often comes at once, and then says in JOB_SLEEPS that it has to be woken.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.kernels import opcodes as op
from minibert.kernels.emit import I8, I32, I64, load, pointer
from minibert.kernels.kernel import int64, intrinsic, kernel, void
from minibert.kernels.simd import store_i64
from minibert.kernels.step import field
from minibert.kernels.sync import system_function

#: A tenth of a millisecond or so: what a caller does between two short texts.
_SPINS = 60_000

#: Numbers of Linux: operations of futex on memory of one process, "set this mask".
_WAIT, _WAKE = 128, 129
_SETMASK = 2
#: Bytes of a signal set: those of glibc, and more than any other library's.
_SIGNAL_SET = 128

_NULL = ir.Constant(I8.as_pointer(), None)


@intrinsic(int64, int64)
def read(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A counter, and all that was written before it was set."""
    return builder.load_atomic(pointer(builder, address, I64), "seq_cst", 8)


@intrinsic(int64, int64, int64)
def exchange(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    """Set a counter; what it was."""
    return builder.atomic_rmw("xchg", pointer(builder, address, I64), value, "seq_cst")


@intrinsic(int64, int64)
def add_one(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Add one to a counter; what it was."""
    return builder.atomic_rmw("add", pointer(builder, address, I64), ir.Constant(I64, 1), "seq_cst")


def _futex(builder: ir.IRBuilder, system: ir.Value, address: ir.Value, operation: int, value: ir.Value) -> None:
    """The system call, on the lower half of a counter."""
    function = system_function(builder, system, op.SYSTEM_CALL, I64, *[I64] * 7)
    number = load(builder, builder.add(system, ir.Constant(I64, 8 * op.FUTEX)), I64, 8)
    zero = ir.Constant(I64, 0)
    builder.call(function, [number, address, ir.Constant(I64, operation), value, zero, zero, zero])


@intrinsic(void, int64, int64, int64)
def _sleep(builder: ir.IRBuilder, system: ir.Value, address: ir.Value, seen: ir.Value) -> None:
    """Sleep while a counter is what was seen, or until woken."""
    _futex(builder, system, address, _WAIT, seen)


@intrinsic(void, int64, int64)
def _wake(builder: ir.IRBuilder, system: ir.Value, address: ir.Value) -> None:
    """Wake who sleeps on a counter."""
    _futex(builder, system, address, _WAKE, ir.Constant(I64, 1))


@intrinsic(int64, int64, int64, int64, int64, int64)
def _create(
    builder: ir.IRBuilder, system: ir.Value, thread: ir.Value, entry: ir.Value, job: ir.Value, scratch: ir.Value
) -> ir.Value:
    """Make a thread that calls `entry(job + 1)` and takes no signals; its name goes to `thread`. 0 if there is one."""
    i8_pointer = I8.as_pointer()
    every, before = (
        builder.inttoptr(builder.add(scratch, ir.Constant(I64, offset)), i8_pointer) for offset in (0, _SIGNAL_SET)
    )
    for offset in range(0, _SIGNAL_SET, 8):
        place = builder.add(scratch, ir.Constant(I64, offset))
        builder.store(ir.Constant(I64, -1), pointer(builder, place, I64))
    mask = system_function(builder, system, op.THREAD_MASK, I32, I32, i8_pointer, i8_pointer)
    create = system_function(builder, system, op.THREAD_CREATE, I32, *[i8_pointer] * 4)
    builder.call(mask, [ir.Constant(I32, _SETMASK), every, before])
    job = builder.add(job, ir.Constant(I64, 1))
    thread, entry, job = (builder.inttoptr(each, i8_pointer) for each in (thread, entry, job))
    error = builder.call(create, [thread, _NULL, entry, job])
    builder.call(mask, [ir.Constant(I32, _SETMASK), before, _NULL])
    return builder.sext(error, I64)


@intrinsic(void, int64, int64)
def _join(builder: ir.IRBuilder, system: ir.Value, thread: ir.Value) -> None:
    """Wait for a thread's end."""
    function = system_function(builder, system, op.THREAD_JOIN, I32, I64, I8.as_pointer())
    builder.call(function, [thread, _NULL])


@kernel(void, int64)
def start(job):
    """Give a job a helper: its JOB_KIND says afterwards whether there is one."""
    store_i64(job + 8 * op.JOB_CALLS, 0)
    store_i64(job + 8 * op.JOB_SLEEPS, 0)
    store_i64(job + 8 * op.JOB_KIND, op.HELPED)
    system = field(job, op.JOB_SYSTEM)
    error = -1
    if system != 0 and field(system, op.THREAD_CREATE) != 0:
        name, scratch = job + 8 * op.JOB_THREAD_NAME, field(job, op.JOB_SCRATCH)
        error = _create(system, name, field(job, op.JOB_ENTRY), job, scratch)
    if error != 0:
        store_i64(job + 8 * op.JOB_KIND, op.START)


@kernel(void, int64)
def call(job):
    """Have a job's helper run it."""
    add_one(job + 8 * op.JOB_CALLS)
    if read(job + 8 * op.JOB_SLEEPS) != 0:
        _wake(field(job, op.JOB_SYSTEM), job + 8 * op.JOB_CALLS)


@kernel(void, int64)
def stop(job):
    """End a job's helper, which waits for a call; `job` says so."""
    call(job)
    _join(field(job, op.JOB_SYSTEM), field(job, op.JOB_THREAD_NAME))


@kernel(int64, int64, int64)
def wait_for_call(job, seen):
    """Wait until a job has been called more often than was seen; how often."""
    calls = read(job + 8 * op.JOB_CALLS)
    spins = 0
    while calls == seen:
        spins += 1
        if spins > _SPINS:
            exchange(job + 8 * op.JOB_SLEEPS, 1)
            _sleep(field(job, op.JOB_SYSTEM), job + 8 * op.JOB_CALLS, seen)
            exchange(job + 8 * op.JOB_SLEEPS, 0)
        calls = read(job + 8 * op.JOB_CALLS)
    return calls
