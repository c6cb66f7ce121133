"""Vectors of 16 lanes as numba types, so that kernels read as arithmetic: `y = x * scale + bias`.

A `f32x16` is one 512-bit register, two of 256 bits or four of 128: LLVM splits it as the CPU needs, and since every
operation is done lane by lane (no fused multiply-add, no reassociation) the bits are the same on all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from minibert import numerics
from minibert.format.constants import LANES
from minibert.kernels.emit import (
    F32,
    F32_LANES,
    I8,
    I8_LANES,
    I16,
    I32,
    I32_LANES,
    I64,
    constant,
    llvm_function,
    load,
    select_max,
    select_min,
    splat,
    store,
)
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int32, int64, intrinsic, void


class VectorType(types.Type):
    """The numba type of a vector; `llvm` is what it is in the generated code."""

    def __init__(self, name: str, llvm: ir.VectorType) -> None:
        super().__init__(name=name)
        self.llvm = llvm


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


f32x16 = VectorType("f32x16", F32_LANES)
i32x16 = VectorType("i32x16", I32_LANES)


def _operator(symbol: Any, vector: VectorType, emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> None:
    """Give numba the operator `symbol` on two vectors."""

    @infer_global(symbol)  # pyright: ignore[reportOptionalCall]
    class _Template(ConcreteTemplate):
        cases = [signature(vector, vector, vector)]  # noqa: RUF012  (numba's own convention)

    @lower_builtin(symbol, vector, vector)
    def _lower(context: Any, builder: ir.IRBuilder, sig: Any, values: Any) -> ir.Value:
        return emit(builder, *values)


def arithmetic(vector: VectorType) -> None:
    """Give numba the operators of a vector type."""
    if vector.llvm.element == F32:
        _operator(operator.add, vector, lambda b, x, y: b.fadd(x, y))
        _operator(operator.sub, vector, lambda b, x, y: b.fsub(x, y))
        _operator(operator.mul, vector, lambda b, x, y: b.fmul(x, y))
        _operator(operator.truediv, vector, lambda b, x, y: b.fdiv(x, y))
    else:
        _operator(operator.add, vector, lambda b, x, y: b.add(x, y))
        _operator(operator.sub, vector, lambda b, x, y: b.sub(x, y))
        _operator(operator.mul, vector, lambda b, x, y: b.mul(x, y))
        _operator(operator.or_, vector, lambda b, x, y: b.or_(x, y))


arithmetic(f32x16)
arithmetic(i32x16)


@intrinsic(f32x16, int64)
def load_f32x16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 floats."""
    return load(builder, address, F32_LANES, 4)


@intrinsic(void, int64, f32x16)
def store_f32x16(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store 16 floats."""
    store(builder, value, address, 4)


@intrinsic(i32x16, int64)
def load_i32x16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 int32."""
    return load(builder, address, I32_LANES, 4)


@intrinsic(void, int64, i32x16)
def store_i32x16(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store 16 int32."""
    store(builder, value, address, 4)


@intrinsic(i32x16, int64)
def load_i8x16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 int8, widened."""
    return builder.sext(load(builder, address, I8_LANES), I32_LANES)


@intrinsic(f32x16, float32)
def splat_f32(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """A float in all lanes."""
    return splat(builder, scalar)


@intrinsic(i32x16, int32)
def splat_i32(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """An int32 in all lanes."""
    return splat(builder, scalar)


@intrinsic(f32x16, i32x16)
def to_f32(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Integers as floats, correctly rounded."""
    return builder.sitofp(value, F32_LANES)


@intrinsic(i32x16, f32x16)
def bits_of(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The bits of floats."""
    return builder.bitcast(value, I32_LANES)


@intrinsic(i32x16, f32x16)
def round_to_i32(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Nearest integers, half to even, of magnitudes below 2**22; any other input gives some integer, never a trap."""
    shifted = builder.bitcast(builder.fadd(value, constant(F32_LANES, numerics.ROUND_MAGIC)), I32_LANES)
    return builder.sub(shifted, builder.bitcast(constant(F32_LANES, numerics.ROUND_MAGIC), I32_LANES))


@intrinsic(i32x16, i32x16, int32)
def shift_left(builder: ir.IRBuilder, value: ir.Value, count: ir.Value) -> ir.Value:
    """All lanes shifted left by count in 0..31."""
    return builder.shl(value, splat(builder, count))


@intrinsic(i32x16, i32x16, int32)
def shift_right(builder: ir.IRBuilder, value: ir.Value, count: ir.Value) -> ir.Value:
    """All lanes shifted right by count in 0..31, signs kept."""
    return builder.ashr(value, splat(builder, count))


@intrinsic(i32x16, i32x16)
def low_byte(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The low 8 bits of each lane."""
    return builder.and_(value, constant(I32_LANES, 0xFF))


@intrinsic(i32x16, i32x16)
def low_bytes(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The low 8 bits of each half of each lane."""
    return builder.and_(value, constant(I32_LANES, 0x00FF00FF))


@intrinsic(i32x16, i32x16)
def low_six_bits(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The low 6 bits of each half of each lane."""
    return builder.and_(value, constant(I32_LANES, 0x003F003F))


@intrinsic(i32x16, i32x16, i32x16)
def add_bytes(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Each of four bytes of each lane added, none of them carrying into its neighbour."""
    of_bytes = ir.VectorType(I8, 4 * LANES)
    return builder.bitcast(builder.add(*(builder.bitcast(value, of_bytes) for value in (a, b))), I32_LANES)


@intrinsic(void, int64, i32x16)
def store_low_bytes(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store the low 8 bits of each lane, side by side."""
    store(builder, builder.trunc(value, I8_LANES), address)


@intrinsic(i32x16, i32x16)
def low_int16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The low 16 bits of each lane."""
    return builder.and_(value, constant(I32_LANES, 0xFFFF))


@intrinsic(f32x16, f32x16, f32x16)
def maximum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of each pair; b where a is not a number."""
    return select_max(builder, a, b)


#: The larger of each pair; b, which is a number, where a is none.
larger = intrinsic(f32x16, f32x16, f32x16)(current().extremes.larger)


@intrinsic(f32x16, f32x16, f32x16)
def minimum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of each pair; b where a is not a number."""
    return select_min(builder, a, b)


@intrinsic(f32x16, f32x16)
def square_root(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Square roots, correctly rounded."""
    return builder.call(llvm_function(builder, "llvm.sqrt.v16f32", F32_LANES, [F32_LANES]), [value])


@intrinsic(f32x16, f32x16, f32x16, f32x16)
def zero_below(builder: ir.IRBuilder, key: ir.Value, least: ir.Value, value: ir.Value) -> ir.Value:
    """The value where key >= least, else 0 (also where key is not a number)."""
    return builder.select(builder.fcmp_ordered(">=", key, least), value, constant(F32_LANES, 0.0))


@intrinsic(f32x16, f32x16)
def swap_neighbours(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Lanes 2i and 2i + 1 exchanged."""
    lanes = ir.Constant(I32_LANES, [lane ^ 1 for lane in range(LANES)])
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


@intrinsic(f32x16, f32x16)
def magnitude(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Absolute values."""
    bits = builder.and_(builder.bitcast(value, I32_LANES), constant(I32_LANES, 0x7FFFFFFF))
    return builder.bitcast(bits, F32_LANES)


def _scalar(name: str, numba_type: types.Type, type_: ir.Type, align: int) -> tuple[Any, Any]:
    """Load and store of one scalar."""

    def load_scalar(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return load(builder, address, type_, align)

    def store_scalar(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
        store(builder, value, address, align)

    load_scalar.__name__, store_scalar.__name__ = f"load_{name}", f"store_{name}"
    return intrinsic(numba_type, int64)(load_scalar), intrinsic(void, int64, numba_type)(store_scalar)


load_f32, store_f32 = _scalar("f32", float32, F32, 4)
load_i32, store_i32 = _scalar("i32", int32, I32, 4)
load_i64, store_i64 = _scalar("i64", int64, I64, 8)
load_u8, store_u8 = _scalar("u8", types.uint8, I8, 1)


@intrinsic(float32, int64)
def f32_of_bits(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """The float32 whose bits are the low half of an int64: how floats travel in the plan's table."""
    return builder.bitcast(builder.trunc(bits, I32), F32)


@intrinsic(void, int64, int64)
def widen_codes(builder: ir.IRBuilder, source: ir.Value, target: ir.Value) -> None:
    """16 int8 as int16, of each four in the order 0, 2, 1, 3."""
    wide = builder.sext(load(builder, source, I8_LANES), ir.VectorType(I16, LANES))
    order = [first + lane for first in range(0, LANES, 4) for lane in (0, 2, 1, 3)]
    lanes = ir.Constant(I32_LANES, order)
    store(builder, builder.shuffle_vector(wide, ir.Constant(wide.type, ir.Undefined), lanes), target, 4)


@intrinsic(void, int64, int64, int64, int64)
def transpose_16x16(
    builder: ir.IRBuilder, source: ir.Value, source_stride: ir.Value, target: ir.Value, target_stride: ir.Value
) -> None:
    """Transpose 16 rows of 16 four-byte elements, in squares of a register's lanes; strides are bytes between rows."""
    size = current().lanes
    lanes = ir.VectorType(I32, size)
    # Perfect-shuffle network: each round interleaves row i with row i + size / 2.
    order = [lane // 2 + size * (lane % 2) for lane in range(2 * size)]
    low, high = (ir.Constant(lanes, order[first : first + size]) for first in (0, size))
    for first in range(0, LANES, size):
        for column in range(0, LANES, size):
            place = builder.add(source, ir.Constant(I64, 4 * column))
            rows = [load(builder, _row(builder, place, source_stride, first + i), lanes, 4) for i in range(size)]
            for _ in range(size.bit_length() - 1):
                pairs = list(zip(rows[: size // 2], rows[size // 2 :], strict=True))
                rows = [builder.shuffle_vector(*pair, half) for pair in pairs for half in (low, high)]
            place = builder.add(target, ir.Constant(I64, 4 * first))
            for i, row in enumerate(rows):
                store(builder, row, _row(builder, place, target_stride, column + i), 4)


def _row(builder: ir.IRBuilder, base: ir.Value, stride: ir.Value, number: int) -> ir.Value:
    return builder.add(base, builder.mul(stride, ir.Constant(I64, number)))
