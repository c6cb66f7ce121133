"""How fast this CPU multiplies and adds at all, and how near the dense int8 kernel comes to it.

    python -m bench.speed.peak

The peak is a loop with nothing in it but what the kernels multiply and add with (`tdpbusd` with AMX, `vpdpbusd` with
AVX-512 VNNI; `vpmaddwd` and an addition with AVX2), on as many independent sums as one tile of the kernels holds. The
kernel is measured on matrices that lie in the caches, from codes to int32 sums:
`out[M, N] = codes[M, K] x weight[K, N]`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# Before numba is imported, as minibert.kernels.build does.
os.environ["NUMBA_OPT"] = "0"

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from minibert.engine.cpu import supported_isas
from minibert.kernels import isa as isas
from minibert.kernels.emit import I64, store

LENGTHS = (8, 16, 48, 128, 512)
#: K and N of the linears of MiniLM and of BERT-base.
MATRICES = ((384, 1152), (384, 1536), (1536, 384), (768, 2304), (768, 3072), (3072, 768))
_LANES = 16  # of a panel
_SPARE_ROWS = 15
_ARGUMENTS = 11
_GROUP = 32  # inputs of an int4 matrix that share a multiplier


def _compile(module: ir.Module, isa: Any, name: str, arguments: int) -> tuple[Callable[..., None], Any]:
    """The function `name` of a module, for the CPU of `isa`, and what keeps it alive."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=isa.cpu, features=isa.features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)  # releases the interpreter lock while it runs
    return kind(engine.get_function_address(name)), engine


def peak_function(isa: Any) -> tuple[Callable[..., None], int, Any]:
    """A function (address of 64 bytes of operands, number of steps, address for the sums); multiply-adds of a step."""
    if isa.tile_registers:
        return _tile_peak(isa)
    widens = isa.widens
    count = 4 if widens else isa.int8_tile.mr * isa.int8_tile.panels  # of rows of int16 that sums do not push out
    # Where rows are widened to int16 first, those are what is multiplied.
    microkernel, a_lane = (isa.int16, 2) if widens else (isa.int8, 4)
    module = ir.Module("peak")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64, I64]), "peak")
    operands, steps, out = function.args
    builder: Any = ir.IRBuilder(function.append_basic_block("entry"))
    row, panel = microkernel.broadcast(builder, operands), microkernel.load_panel(builder, operands)
    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(ir.Constant(I64, 0), entry)
    sums = [[builder.phi(start.type) for start in microkernel.zero()] for _ in range(count)]
    # A row is carried from step to step, through inline assembly that is empty: else the compiler would take its
    # products, which never change, out of the loop. Two of them leave registers enough for the sums. But where an
    # instruction only multiplies, each sum needs a row of its own, or one product would do for several sums.
    carried = [builder.phi(row.type) for _ in range(count if widens else 2)]
    same = ir.FunctionType(row.type, [row.type])
    again = [builder.asm(same, "", "=v,0", [value], side_effect=True) for value in carried]
    for phi, value in zip(carried, again, strict=True):
        phi.add_incoming(row, entry)
        phi.add_incoming(value, loop)
    added = [
        microkernel.multiply_add(builder, old, again[number % len(again)], panel) for number, old in enumerate(sums)
    ]
    following = builder.add(step, ir.Constant(I64, 1))
    step.add_incoming(following, builder.block)
    for one, result in zip(sums, added, strict=True):
        for phi, start, value in zip(one, microkernel.zero(), result, strict=True):
            phi.add_incoming(start, entry)
            phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
    builder.position_at_end(done)
    for number, result in enumerate(added):
        store(builder, microkernel.finish(builder, result), builder.add(out, ir.Constant(I64, 64 * number)))
    builder.ret_void()
    call, engine = _compile(module, isa, "peak", 3)
    return call, count * _LANES * a_lane, engine


def _tile_peak(isa: Any) -> tuple[Callable[..., None], int, Any]:
    """`peak_function` where registers hold whole tiles: the arithmetic is theirs, and no memory is looked at."""
    registers, count = isa.tile_registers, 4
    module = ir.Module("peak")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64, I64]), "peak")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    registers.open(builder)
    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(ir.Constant(I64, 0), entry)
    for number in range(count):
        registers.multiply_add(builder, number, count + number // 2, count + 2 + number % 2, (False, True))
    following = builder.add(step, ir.Constant(I64, 1))
    step.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, function.args[1]), loop, done)
    builder.position_at_end(done)
    registers.close(builder)
    builder.ret_void()
    call, engine = _compile(module, isa, "peak", 3)
    return call, count * _LANES * _LANES * 64, engine


def _fastest(call: Callable[[], None], seconds: float) -> float:
    """The shortest time of a call in `seconds` of calls: a limit of the machine is what it does undisturbed."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def measure_peak(isa: Any, threads: int, seconds: float) -> float:
    """Multiply-adds a second in int8, in registers, on `threads` threads at once."""
    call, macs, _engine = peak_function(isa)
    steps = 100_000  # less than a millisecond: passes that nothing interrupts are not rare
    buffers = [np.ones(64 * (1 + isa.int8_tile.mr * isa.int8_tile.panels), np.uint8) for _ in range(threads)]

    fastest = [0.0] * threads

    def one(number: int) -> None:
        address = buffers[number].ctypes.data
        fastest[number] = _fastest(lambda: call(address, steps, address + 64), seconds)

    others = [threading.Thread(target=one, args=(number,)) for number in range(1, threads)]
    for other in others:
        other.start()
    one(0)
    for other in others:
        other.join()
    return sum(macs * steps / taken for taken in fastest)


def dense_function(name: str) -> tuple[Callable[..., None], Any]:
    """The kernel `integer_product` of the package, compiled as the package is, as a function of its arguments."""
    from numba import types

    from minibert.kernels import build, interpreter
    from minibert.kernels.dense import integer_product
    from minibert.kernels.tile_registers import close_registers, open_registers

    def run(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch):  # noqa: ANN001, ANN202
        open_registers()
        integer_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch)
        close_registers()

    # The builder compiles whatever interpreter.run is: for this process that is one kernel alone.
    interpreter.run, interpreter.RUN_SIGNATURE = run, types.void(*[types.int64] * _ARGUMENTS)
    code = build.build(name)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    engine = llvm.create_mcjit_compiler(
        llvm.parse_assembly(""), llvm.Target.from_default_triple().create_target_machine()
    )
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * _ARGUMENTS)
    return kind(engine.get_function_address(build.ENTRY_POINT)), engine


def _matrices(inner: int, outer: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, int, list[np.ndarray]]]:
    """A random matrix of each kind: name, weights int8 [outer, inner], step, address if it is int8, what to keep."""
    from minibert.engine.memory import address, aligned
    from minibert.format import pack_int4, pack_int8
    from minibert.kernels import opcodes as op

    random = np.random.default_rng(0)
    step = np.zeros(op.STEP_FIELDS, np.int64)
    step[op.KIND] = op.INT8
    weight = random.integers(-127, 128, (outer, inner), dtype=np.int8)
    packed = aligned(pack_int8(weight))
    yield "int8", weight, step, address(packed), [packed]
    codes = random.integers(-7, 8, (outer, inner), dtype=np.int8)
    multiplier = random.integers(1, 19, (outer, inner // _GROUP), dtype=np.uint8)
    weight = codes * multiplier.astype(np.int8).repeat(_GROUP, axis=1)
    kept = [aligned(part) for part in pack_int4(codes, multiplier)]
    kept.append(aligned(weight.sum(axis=1, dtype=np.int32)))
    step = step.copy()
    step[[op.KIND, op.GROUP_SIZE]] = op.INT4, _GROUP
    step[[op.WEIGHT, op.DECODER, op.WEIGHT_SUM]] = [address(each) for each in kept]
    yield "int4", weight, step, 0, kept


def measure_dense(name: str, isa: Any, seconds: float) -> list[dict[str, Any]]:
    """The kernel on one thread, for every kind of matrix, M, K and N; its sums are checked against NumPy's first."""
    from minibert.engine.memory import aligned
    from minibert.kernels.scratch import matmul_scratch

    call, _engine = dense_function(name)
    random = np.random.default_rng(0)
    rows = []
    for inner, outer in MATRICES:
        for kind, weight, step, packed, kept in _matrices(inner, outer):
            for length in LENGTHS:
                codes = random.integers(-127, 128, (length, inner), dtype=np.int8)
                # Kernels that multiply several rows together may read, and write sums of, a few more than there are.
                stored = aligned(np.zeros((length + _SPARE_ROWS, inner), np.uint8))
                stored[:length] = codes.astype(np.int16) + isa.code_offset
                sums = aligned(np.zeros((length + _SPARE_ROWS, outer), np.int32))
                scratch = aligned(np.zeros(matmul_scratch(length, inner), np.uint8))
                arguments = (
                    step.ctypes.data, stored.ctypes.data, length, inner, inner,
                    packed, 0, outer // _LANES, sums.ctypes.data, 4 * outer, scratch.ctypes.data,
                )  # fmt: skip
                call(*arguments)
                expected = codes.astype(np.int32) @ weight.T.astype(np.int32)
                expected += isa.code_offset * weight.sum(axis=1, dtype=np.int32)
                if not np.array_equal(sums[:length], expected):
                    sys.exit(f"integer_product {kind} {length}x{inner}x{outer}: wrong sums")
                taken = _fastest(lambda arguments=arguments: call(*arguments), seconds)
                speed = length * inner * outer / taken
                rows.append({"kind": kind, "m": length, "k": inner, "n": outer, "macs_per_second": speed})
            kept.clear()
    return rows


def measure(name: str, threads: list[int], seconds: float, dense: bool) -> dict[str, Any]:
    """All figures of one instruction set."""
    isa = isas.select(name)
    peaks = {str(count): measure_peak(isa, count, seconds) for count in threads}
    return {"isa": name, "peak": peaks, "dense": measure_dense(name, isa, seconds / 4) if dense else []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Portable code has no instruction of its own to measure.
    known = [name for name in supported_isas() if name != "portable"]
    if not known:
        sys.exit("no instruction set of the kernels on this CPU but the portable one, which has no peak")
    parser.add_argument("--isa", choices=known, default=known[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, help="for a figure (default: 1)")
    parser.add_argument("--no-dense", action="store_true", help="the peak only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.isa, options.threads, options.seconds, not options.no_dense)
    if options.json:
        print(json.dumps(result))
        return
    for threads, peak in result["peak"].items():
        print(f"{result['isa']}, {threads} thread(s): peak {peak / 1e9:.0f} GMAC/s in int8")
    peak = result["peak"][str(options.threads[0])] / options.threads[0]
    for row in result["dense"]:
        speed = row["macs_per_second"]
        shape = f"{row['m']:4} x {row['k']:4} x {row['n']:4}"
        print(f"  {row['kind']} {shape}: {speed / 1e9:6.1f} GMAC/s, {speed / peak:4.0%} of the peak")


if __name__ == "__main__":
    main()
