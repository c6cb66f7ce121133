"""Where tokens become rows: tables of words, positions and types; and positions as rotations of queries and keys."""

from __future__ import annotations

import numpy as np

from minibert.kernels import opcodes as op
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.row_vectors import ROWS
from minibert.kernels.rows import copy_rows
from minibert.kernels.simd import load_f32x16, load_i32, load_i64, splat_f32, store_f32x16, swap_neighbours
from minibert.kernels.step import field, normalize_rows, place_of, row_stride, store_codes
from minibert.kernels.tables import add_row

_ZERO = np.float32(0)


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def embed(step, arena, scratch, ids, types, starts, first, end):
    """Rows first..end: of each table that the step has, a row is looked up; they are added, and perhaps normalized."""
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
            add_row(step, op.WORD, np.int64(load_i32(ids + 4 * token)), row)
            add_row(step, op.POSITION, position, row)
            if field(step, op.TYPE + op.TABLE_KIND) != op.NO_TABLE:
                add_row(step, op.TYPE, np.int64(load_i32(types + 4 * token)), row)
        place = place_of(step, arena, group)
        if field(step, op.TOTAL) >= 0:
            copy_rows(scratch, stride, arena + field(step, op.TOTAL) + group * stride)
        if field(step, op.NORM_WEIGHT) != 0:
            normalize_rows(step, scratch, place)
        else:
            copy_rows(scratch, stride, place)
        store_codes(step, arena, place, group)


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
                swapped = swap_neighbours(x) * load_f32x16(cosine + width + column)
                store_f32x16(head + column, x * load_f32x16(cosine + column) + swapped)
