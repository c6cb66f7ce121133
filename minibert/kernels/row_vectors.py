"""Four rows of 16 lanes at a time, as one numba type: what happens to rows between two matrix products.

Four rows share what they load for each column (scales, biases, factors) and, being independent, hide one another's
latency. A `f32x64` is four 512-bit registers: row r is lanes 16 r to 16 r + 15. A `f32x4` holds one number a row.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import (
    F32,
    F32_LANES,
    I8_LANES,
    I32,
    I32_LANES,
    I64,
    constant,
    llvm_function,
    load,
    part,
    select_max,
    select_min,
    side_by_side,
    store,
)
from minibert.kernels.kernel import float32, int32, int64, intrinsic, void
from minibert.kernels.opcodes import ROWS_AT_ONCE
from minibert.kernels.simd import VectorType, arithmetic, f32x16, i32x16

ROWS = ROWS_AT_ONCE
_F32X64 = ir.VectorType(F32, ROWS * LANES)
_I32X64 = ir.VectorType(I32, ROWS * LANES)
_F32X4 = ir.VectorType(F32, ROWS)
_I32X4 = ir.VectorType(I32, ROWS)

f32x64 = VectorType("f32x64", _F32X64)
i32x64 = VectorType("i32x64", _I32X64)
f32x4 = VectorType("f32x4", _F32X4)
i32x4 = VectorType("i32x4", _I32X4)
arithmetic(f32x64)
arithmetic(f32x4)
arithmetic(i32x64)
arithmetic(i32x4)


def _addresses(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> list[ir.Value]:
    return [builder.add(address, builder.mul(stride, ir.Constant(I64, row))) for row in range(ROWS)]


def _load_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, lanes: ir.VectorType) -> ir.Value:
    return side_by_side(builder, [load(builder, row, lanes, 4) for row in _addresses(builder, address, stride)])


@intrinsic(f32x64, int64, int64)
def load_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> ir.Value:
    """16 floats of each of four rows, `stride` bytes apart."""
    return _load_rows(builder, address, stride, F32_LANES)


@intrinsic(i32x64, int64, int64)
def load_i32_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> ir.Value:
    """16 int32 of each of four rows."""
    return _load_rows(builder, address, stride, I32_LANES)


@intrinsic(void, int64, int64, f32x64)
def store_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, value: ir.Value) -> None:
    """Store 16 floats of each row."""
    for number, row in enumerate(_addresses(builder, address, stride)):
        store(builder, part(builder, value, number * LANES, LANES), row, 4)


@intrinsic(void, int64, int64, f32x64)
def store_code_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, value: ir.Value) -> None:
    """Store the lowest byte of each float's bits: after adding ROUND_MAGIC, its nearest integer."""
    bits = builder.bitcast(value, _I32X64)
    for number, row in enumerate(_addresses(builder, address, stride)):
        store(builder, builder.trunc(part(builder, bits, number * LANES, LANES), I8_LANES), row)


@intrinsic(f32x64, f32x16)
def every_row(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same 16 numbers for each row."""
    return side_by_side(builder, [value] * ROWS)


@intrinsic(i32x64, i32x16)
def every_i32_row(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same 16 integers for each row."""
    return side_by_side(builder, [value] * ROWS)


def _along_rows(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    lanes = ir.Constant(ir.VectorType(I32, ROWS * LANES), [row for row in range(ROWS) for _ in range(LANES)])
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


#: Each row's number in all of its lanes.
along_rows = intrinsic(f32x64, f32x4)(_along_rows)
along_i32_rows = intrinsic(i32x64, i32x4)(_along_rows)


@intrinsic(f32x4, int64)
def load_f32x4(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Four floats."""
    return load(builder, address, _F32X4, 4)


@intrinsic(i32x4, int64)
def load_i32x4(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Four int32."""
    return load(builder, address, _I32X4, 4)


@intrinsic(void, int64, f32x4)
def store_f32x4(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store four floats."""
    store(builder, value, address, 4)


@intrinsic(void, int64, i32x4)
def store_i32x4(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store four int32."""
    store(builder, value, address, 4)


@intrinsic(i32x4, f32x4)
def bits_of_f32x4(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same bits, as integers."""
    return builder.bitcast(value, _I32X4)


def _splat(vector: ir.VectorType) -> Callable[[ir.IRBuilder, ir.Value], ir.Value]:
    def splat_all(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, vector.count), 0))

    return splat_all


#: A float in all lanes of all rows; a float for each row.
splat_rows = intrinsic(f32x64, float32)(_splat(_F32X64))
splat_f32x4 = intrinsic(f32x4, float32)(_splat(_F32X4))
splat_i32x4 = intrinsic(i32x4, int32)(_splat(_I32X4))


@intrinsic(f32x64, i32x64)
def rows_to_f32(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Integers as floats, correctly rounded."""
    return builder.sitofp(value, _F32X64)


#: The larger, and the smaller, of each pair; b where a is not a number.
larger = intrinsic(f32x64, f32x64, f32x64)(select_max)
smaller = intrinsic(f32x64, f32x64, f32x64)(select_min)


@intrinsic(f32x64, f32x64, int64)
def keep_first_lanes(builder: ir.IRBuilder, value: ir.Value, count: ir.Value) -> ir.Value:
    """Zero in every lane from `count` of its row on."""
    lane = ir.Constant(_I32X64, list(range(LANES)) * ROWS)
    limit = _splat(_I32X64)(builder, builder.trunc(count, I32))
    return builder.select(builder.icmp_signed("<", lane, limit), value, constant(_F32X64, 0.0))


def _fold(builder: ir.IRBuilder, value: ir.Value, combine: Callable[..., ir.Value]) -> ir.Value:
    """The 16 lanes of each row to one, upper half onto lower: the order of reference.functions.lane_sum."""
    width = LANES
    while width > 1:
        half = width // 2
        shape = ir.VectorType(I32, ROWS * half)
        undefined = ir.Constant(value.type, ir.Undefined)
        low = [row * width + lane for row in range(ROWS) for lane in range(half)]
        high = [lane + half for lane in low]
        value = combine(
            builder,
            builder.shuffle_vector(value, undefined, ir.Constant(shape, low)),
            builder.shuffle_vector(value, undefined, ir.Constant(shape, high)),
        )
        width = half
    return value


@intrinsic(f32x4, f32x64)
def fold_row_sums(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Sum of each row's lanes."""
    return _fold(builder, value, lambda b, x, y: b.fadd(x, y))


@intrinsic(f32x4, f32x64)
def fold_row_maxima(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Largest lane of each row."""
    return _fold(builder, value, select_max)


@intrinsic(f32x4, f32x64)
def fold_row_minima(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Smallest lane of each row."""
    return _fold(builder, value, select_min)


@intrinsic(f32x4, f32x4)
def sqrt_f32x4(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Square roots, correctly rounded."""
    return builder.call(llvm_function(builder, "llvm.sqrt.v4f32", _F32X4, [_F32X4]), [value])


@intrinsic(f32x4, f32x4, f32x4)
def max_f32x4(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of each pair; b where a is not a number."""
    return select_max(builder, a, b)


@intrinsic(f32x4, f32x4, f32x4, f32x4)
def zero_below_f32x4(builder: ir.IRBuilder, key: ir.Value, least: ir.Value, value: ir.Value) -> ir.Value:
    """The value where key >= least, else 0 (also where key is not a number)."""
    return builder.select(builder.fcmp_ordered(">=", key, least), value, constant(_F32X4, 0.0))
