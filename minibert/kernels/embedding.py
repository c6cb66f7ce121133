"""Where tokens become rows: tables of words, positions and types; and positions as rotations of queries and keys."""

from __future__ import annotations

import numpy as np

from minibert.kernels import opcodes as op
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.quads import ROWS
from minibert.kernels.simd import (
    load_f32,
    load_f32x16,
    load_i8x16,
    load_i32,
    load_i64,
    splat_f32,
    store_f32x16,
    store_i32,
    swap_neighbours,
    to_f32,
)
from minibert.kernels.step import field, normalized, place_of, row_stride, store_codes

_ZERO = np.float32(0)


@kernel(void, int64, int64, int64, int64, int64)
def table_row(table, scale, index, width, out):
    """out += row `index` of an embedding table: float32, or int8 where the table has scales."""
    if scale != 0:
        scales = splat_f32(load_f32(scale + 4 * index))
        for column in range(0, width, 16):
            row = out + 4 * column
            store_f32x16(row, load_f32x16(row) + to_f32(load_i8x16(table + index * width + column)) * scales)
    else:
        for column in range(0, width * 4, 64):
            store_f32x16(out + column, load_f32x16(out + column) + load_f32x16(table + index * width * 4 + column))


@kernel(void, int64, int64, int64, int64, int64, int64)
def panel_row(table, scale, index, width, room, out):
    """`table_row` of a table that lies as a matrix does: 4 bytes of each of 16 rows side by side."""
    inner = width
    if scale != 0:
        inner = width >> 2
    word = table + (index >> 4) * inner * 64 + (index & 15) * 4
    for step in range(inner):
        store_i32(room + 4 * step, load_i32(word + 64 * step))
    if scale != 0:
        scale += 4 * index
    table_row(room, scale, 0, width, out)


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def embed(step, arena, scratch, ids, types, starts, first, end):
    """Rows first..end: word, position and token type are looked up, added and normalized."""
    width = field(step, op.WIDTH)
    stride = row_stride(step)
    offset = load_i64(starts)
    text = 0
    for group in range(first, end, ROWS):
        for token in range(group, min(group + ROWS, end)):
            while token + offset >= load_i64(starts + 8 * (text + 1)):
                text += 1
            position = token + offset - load_i64(starts + 8 * text)
            row = scratch + (token - group) * stride
            for column in range(0, stride, 64):
                store_f32x16(row + column, splat_f32(_ZERO))
            word = np.int64(load_i32(ids + 4 * token))
            if field(step, op.WORD_PANELS) != 0:
                room = place_of(step, arena, token)  # not written before all four rows are there
                panel_row(field(step, op.WORD), field(step, op.WORD_SCALE), word, width, room, row)
            else:
                table_row(field(step, op.WORD), field(step, op.WORD_SCALE), word, width, row)
            if field(step, op.POSITION) != 0:
                table_row(field(step, op.POSITION), field(step, op.POSITION_SCALE), position, width, row)
            if field(step, op.TYPE) != 0:
                kind = np.int64(load_i32(types + 4 * token))
                table_row(field(step, op.TYPE), field(step, op.TYPE_SCALE), kind, width, row)
        place = place_of(step, arena, group)
        store_codes(step, arena, place, group, normalized(step, scratch, place))


@kernel(void, int64, int64, int64, int64, int64)
def rotate(step, arena, starts, first, end):
    """Rows first..end of queries and keys are rotated by their tokens' positions, in place."""
    stride, width = row_stride(step), field(step, op.HEAD_WIDTH) * 4
    offset = load_i64(starts)
    text = 0
    for token in range(first, end):
        while token + offset >= load_i64(starts + 8 * (text + 1)):
            text += 1
        cosine = field(step, op.ROTARY_TABLE) + (token + offset - load_i64(starts + 8 * text)) * 2 * width
        row = arena + field(step, op.SOURCE) + token * stride
        for head in range(row, row + field(step, op.HEADS) * width, width):
            for column in range(0, width, 64):
                x = load_f32x16(head + column)
                turned = swap_neighbours(x) * load_f32x16(cosine + width + column)
                store_f32x16(head + column, x * load_f32x16(cosine + column) + turned)
