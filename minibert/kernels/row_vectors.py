"""A few rows of 16 lanes at a time, as one numba type: what happens to rows between two matrix products.

They share what they load for each column (scales, biases, factors) and, being independent, hide one another's latency;
as many as fit the registers (`Target.rows_at_once`). In a `f32_rows` row r is lanes 16 r to 16 r + 15. A `f32_each`
holds one number a row.
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
    side_by_side,
    store,
)
from minibert.kernels.isa import current, current_target
from minibert.kernels.kernel import float32, int32, int64, intrinsic, void
from minibert.kernels.simd import VectorType, arithmetic, f32x16, i32x16

ROWS = current_target().rows_at_once
#: Bytes from the scales of rows to their zero points.
ZERO_POINT_OFFSET = 4 * ROWS
_F32_ROWS = ir.VectorType(F32, ROWS * LANES)
_I32_ROWS = ir.VectorType(I32, ROWS * LANES)
_F32_EACH = ir.VectorType(F32, ROWS)
_I32_EACH = ir.VectorType(I32, ROWS)

f32_rows = VectorType("f32_rows", _F32_ROWS)
i32_rows = VectorType("i32_rows", _I32_ROWS)
f32_each = VectorType("f32_each", _F32_EACH)
i32_each = VectorType("i32_each", _I32_EACH)
arithmetic(f32_rows)
arithmetic(f32_each)
arithmetic(i32_rows)
arithmetic(i32_each)


def _addresses(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> list[ir.Value]:
    return [builder.add(address, builder.mul(stride, ir.Constant(I64, row))) for row in range(ROWS)]


def _load_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, lanes: ir.VectorType) -> ir.Value:
    return side_by_side(builder, [load(builder, row, lanes, 4) for row in _addresses(builder, address, stride)])


@intrinsic(f32_rows, int64, int64)
def load_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> ir.Value:
    """16 floats of each row, `stride` bytes apart."""
    return _load_rows(builder, address, stride, F32_LANES)


@intrinsic(i32_rows, int64, int64)
def load_i32_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> ir.Value:
    """16 int32 of each row."""
    return _load_rows(builder, address, stride, I32_LANES)


@intrinsic(void, int64, int64, f32_rows)
def store_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, value: ir.Value) -> None:
    """Store 16 floats of each row."""
    for number, row in enumerate(_addresses(builder, address, stride)):
        store(builder, part(builder, value, number * LANES, LANES), row, 4)


@intrinsic(void, int64, int64, f32_rows)
def store_code_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, value: ir.Value) -> None:
    """Store the lowest byte of each float's bits: after adding ROUND_MAGIC, its nearest integer."""
    bits = builder.bitcast(value, _I32_ROWS)
    for number, row in enumerate(_addresses(builder, address, stride)):
        store(builder, builder.trunc(part(builder, bits, number * LANES, LANES), I8_LANES), row)


@intrinsic(f32_rows, f32x16)
def every_row(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same 16 numbers for each row."""
    return side_by_side(builder, [value] * ROWS)


@intrinsic(i32_rows, i32x16)
def every_i32_row(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same 16 integers for each row."""
    return side_by_side(builder, [value] * ROWS)


def _along_rows(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    lanes = ir.Constant(ir.VectorType(I32, ROWS * LANES), [row for row in range(ROWS) for _ in range(LANES)])
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


#: Each row's number in all of its lanes.
along_rows = intrinsic(f32_rows, f32_each)(_along_rows)
along_i32_rows = intrinsic(i32_rows, i32_each)(_along_rows)


@intrinsic(f32_each, int64)
def load_f32_each(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A float for each row."""
    return load(builder, address, _F32_EACH, 4)


@intrinsic(i32_each, int64)
def load_i32_each(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """An int32 for each row."""
    return load(builder, address, _I32_EACH, 4)


@intrinsic(void, int64, f32_each)
def store_f32_each(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store a float for each row."""
    store(builder, value, address, 4)


@intrinsic(void, int64, i32_each)
def store_i32_each(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store an int32 for each row."""
    store(builder, value, address, 4)


@intrinsic(i32_each, f32_each)
def bits_of_f32_each(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same bits, as integers."""
    return builder.bitcast(value, _I32_EACH)


def _splat(vector: ir.VectorType) -> Callable[[ir.IRBuilder, ir.Value], ir.Value]:
    def splat_all(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, vector.count), 0))

    return splat_all


#: A float in all lanes of all rows; a float for each row.
splat_rows = intrinsic(f32_rows, float32)(_splat(_F32_ROWS))
splat_f32_each = intrinsic(f32_each, float32)(_splat(_F32_EACH))
splat_i32_each = intrinsic(i32_each, int32)(_splat(_I32_EACH))


@intrinsic(f32_rows, i32_rows)
def rows_to_f32(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Integers as floats, correctly rounded."""
    return builder.sitofp(value, _F32_ROWS)


#: The larger, and the smaller, of each pair; b, which is a number, where a is none.
larger = intrinsic(f32_rows, f32_rows, f32_rows)(current().extremes.larger)
smaller = intrinsic(f32_rows, f32_rows, f32_rows)(current().extremes.smaller)


@intrinsic(f32_rows, f32_rows, int64)
def keep_first_lanes(builder: ir.IRBuilder, value: ir.Value, count: ir.Value) -> ir.Value:
    """Zero in every lane from `count` of its row on."""
    lane = ir.Constant(_I32_ROWS, list(range(LANES)) * ROWS)
    limit = _splat(_I32_ROWS)(builder, builder.trunc(count, I32))
    return builder.select(builder.icmp_signed("<", lane, limit), value, constant(_F32_ROWS, 0.0))


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


@intrinsic(f32_each, f32_rows)
def fold_row_sums(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Sum of each row's lanes."""
    return _fold(builder, value, lambda b, x, y: b.fadd(x, y))


@intrinsic(f32_each, f32_rows)
def fold_row_maxima(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Largest lane of each row."""
    return _fold(builder, value, current().extremes.larger)


@intrinsic(f32_each, f32_rows)
def fold_row_minima(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Smallest lane of each row."""
    return _fold(builder, value, current().extremes.smaller)


@intrinsic(f32_each, f32_each)
def sqrt_f32_each(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Square roots, correctly rounded."""
    return builder.call(llvm_function(builder, f"llvm.sqrt.v{ROWS}f32", _F32_EACH, [_F32_EACH]), [value])


@intrinsic(f32_each, f32_each, f32_each)
def max_f32_each(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of each pair; b where a is not a number."""
    return select_max(builder, a, b)


@intrinsic(f32_each, f32_each, f32_each, f32_each)
def zero_below_f32_each(builder: ir.IRBuilder, key: ir.Value, least: ir.Value, value: ir.Value) -> ir.Value:
    """The value where key >= least, else 0 (also where key is not a number)."""
    return builder.select(builder.fcmp_ordered(">=", key, least), value, constant(_F32_EACH, 0.0))
