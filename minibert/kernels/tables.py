"""Rows of embedding tables, one kernel for each way in which they are stored. Twin: minibert.reference.tables.

Each kernel adds a row to 16 columns of `out` at a time; codes are decoded in registers and never written anywhere.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import LANES, NIBBLE_GROUP
from minibert.kernels import opcodes as op
from minibert.kernels.emit import F32, F32_LANES, I8, I8_LANES, I32, I32_LANES, I64, constant, load
from minibert.kernels.kernel import int64, intrinsic, kernel, void
from minibert.kernels.simd import (
    f32x16,
    i32x16,
    load_f32,
    load_f32x16,
    load_i8x16,
    splat_f32,
    splat_i32,
    store_f32x16,
    to_f32,
)
from minibert.kernels.step import field

_NIBBLE_GROUP = NIBBLE_GROUP


@intrinsic(int64, int64)
def load_byte(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One byte, widened."""
    return builder.zext(load(builder, address, I8), I64)


@intrinsic(i32x16, int64)
def load_i4x16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """16 codes of 4 bits, widened: the low halves of 8 bytes, then the high ones."""
    pairs = load(builder, address, ir.VectorType(I8, LANES // 2))
    four = constant(pairs.type, 4)
    low = builder.ashr(builder.shl(pairs, four), four)
    both = builder.shuffle_vector(low, builder.ashr(pairs, four), ir.Constant(I32_LANES, list(range(LANES))))
    return builder.sext(both, I32_LANES)


@intrinsic(i32x16, int64, int64, int64, int64)
def load_i8_fours(builder: ir.IRBuilder, *addresses: ir.Value) -> ir.Value:
    """Four times four int8, widened."""
    fours = ir.Constant(ir.VectorType(I32, LANES // 4), ir.Undefined)
    for number, address in enumerate(addresses):
        fours = builder.insert_element(fours, load(builder, address, I32), ir.Constant(I32, number))
    return builder.sext(builder.bitcast(fours, I8_LANES), I32_LANES)


@intrinsic(f32x16, int64, int64)
def load_f32_apart(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value) -> ir.Value:
    """16 floats, `stride` bytes from one to the next."""
    lanes = ir.Constant(F32_LANES, ir.Undefined)
    for number in range(LANES):
        lanes = builder.insert_element(lanes, load(builder, address, F32, 4), ir.Constant(I32, number))
        address = builder.add(address, stride)
    return lanes


@kernel(void, int64, f32x16)
def add_to(out, value):
    """The 16 floats at `out` become larger by a value."""
    store_f32x16(out, load_f32x16(out) + value)


@kernel(void, int64, int64, int64, int64)
def add_float32(table, index, width, out):
    """out += row `index` of rows of `width` float32."""
    for column in range(0, width * 4, 64):
        add_to(out + column, load_f32x16(table + index * width * 4 + column))


@kernel(void, int64, int64, int64, int64)
def add_float32_panels(table, index, width, out):
    """out += row `index` of what lies as a float32 matrix does: 4 bytes of each of 16 rows side by side."""
    row = table + (index >> 4) * width * 64 + (index & 15) * 4
    for column in range(0, width, 16):
        add_to(out + 4 * column, load_f32_apart(row + 64 * column, 64))


@kernel(void, int64, int64, int64, int64, int64)
def add_int8(table, scale, index, width, out):
    """out += row `index` of rows of `width` int8, times the row's scale."""
    scales = splat_f32(load_f32(scale + 4 * index))
    for column in range(0, width, 16):
        add_to(out + 4 * column, to_f32(load_i8x16(table + index * width + column)) * scales)


@kernel(void, int64, int64, int64, int64, int64)
def add_int8_panels(table, scale, index, width, out):
    """out += row `index` of what lies as an int8 matrix does: 4 bytes of each of 16 rows side by side."""
    scales = splat_f32(load_f32(scale + 4 * index))
    row = table + (index >> 4) * width * 16 + (index & 15) * 4
    for column in range(0, width, 16):
        four = row + 16 * column
        add_to(out + 4 * column, to_f32(load_i8_fours(four, four + 64, four + 128, four + 192)) * scales)


@kernel(void, int64, int64, int64, int64, int64, int64)
def add_int4(codes, scale, multiplier, index, width, out):
    """out += row `index` of 4-bit codes, times the multipliers of its groups of columns, times the row's scale."""
    scales = splat_f32(load_f32(scale + 4 * index))
    row = codes + index * (width >> 1)
    multiplier += index * ((width + _NIBBLE_GROUP - 1) // _NIBBLE_GROUP)
    for column in range(0, width, 16):
        times = splat_i32(load_byte(multiplier + column // _NIBBLE_GROUP))
        add_to(out + 4 * column, to_f32(load_i4x16(row + (column >> 1)) * times) * scales)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def add_codebook(codes, scale, book, shift, index, width, out):
    """out += row `index` whose bytes choose entries of 2**shift columns in a codebook, times the row's scale."""
    scales = splat_f32(load_f32(scale + 4 * index))
    row = codes + index * (width >> shift)
    for column in range(0, width, 16):
        first = entry_of(row, book, shift, column)
        second = entry_of(row, book, shift, column + 4)
        third = entry_of(row, book, shift, column + 8)
        fourth = entry_of(row, book, shift, column + 12)
        add_to(out + 4 * column, to_f32(load_i8_fours(first, second, third, fourth)) * scales)


@kernel(int64, int64, int64, int64, int64)
def entry_of(row, book, shift, column):
    """Where the four columns from `column` on stand in the codebook."""
    part = column >> shift
    return book + (((part << 8) + load_byte(row + part)) << shift) + (column - (part << shift))


@kernel(void, int64, int64, int64, int64)
def add_row(step, first, index, out):
    """out += row `index` of the table whose entries in the step begin at `first`; nothing where there is none."""
    table, scale = field(step, first + op.TABLE), field(step, first + op.TABLE_SCALE)
    decoder, kind = field(step, first + op.TABLE_DECODER), field(step, first + op.TABLE_KIND)
    width = field(step, op.WIDTH)
    if kind == op.INT8_ROWS:
        add_int8(table, scale, index, width, out)
    elif kind == op.FLOAT32_ROWS:
        add_float32(table, index, width, out)
    elif kind == op.INT4_ROWS:
        add_int4(table, scale, decoder, index, width, out)
    elif kind >= op.CODEBOOK:
        add_codebook(table, scale, decoder, kind - op.CODEBOOK, index, width, out)
    elif kind == op.INT8_PANELS:
        add_int8_panels(table, scale, index, width, out)
    elif kind == op.FLOAT32_PANELS:
        add_float32_panels(table, index, width, out)
