"""Softmax attention of one head within one text, fused. Twin: minibert.reference.attention.

Sixteen queries lie in the lanes, so that maximum, exponential and sum of the softmax are plain vector arithmetic
without a single horizontal step. Keys go by in blocks with a running maximum (online softmax, arXiv 1805.02867; the
tiling of FlashAttention, arXiv 2205.14135): nothing of size tokens x tokens exists. Both products are the microkernel
of minibert.kernels.tile:

    scores [key][16 queries]    rows: the keys                     panel: the queries
    context [dim][16 queries]   rows: the dimensions of values     panel: the softmax weights
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels.functions import exp2
from minibert.kernels.isa import current
from minibert.kernels.isa.words import Dot
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.rows import quantize
from minibert.kernels.simd import (
    exclusive_or,
    load_f32,
    load_f32x16,
    load_i32x16,
    low_word,
    magnitude,
    maximum,
    round_to_i32,
    shift_left,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_i32,
    store_i32x16,
    to_f32,
    transpose_16x16,
    zero_below,
)
from minibert.kernels.tile import make_tile

_isa = current()
_OFFSET = _isa.code_offset
_OFFSETS = np.int32(-0x7F7F7F80)  # 0x80 in each byte: codes with 128 added <-> signed codes
_BLOCK = numerics.KEY_BLOCK
_LOWEST = np.float32(numerics.LOWEST_SCORE)
_VALUE_LIMIT = np.float32(numerics.VALUE_LIMIT)
_INVERSE_VALUE_LIMIT = np.float32(1.0 / numerics.VALUE_LIMIT)
_WEIGHT_LIMIT = np.float32(numerics.WEIGHT_LIMIT)
_SMALLEST = np.float32(numerics.SMALLEST_ABSMAX)
_ZERO, _ONE = np.float32(0), np.float32(1)
_NOTHING, _HALF_WORD = np.int32(0), np.int32(16)

# Scratch of a head, in bytes from its start: first what a block of keys and 16 queries need ...
_ROW = 64  # 16 lanes of 4 bytes
_TOTAL, _LARGEST, _CORRECTION, _QUERY_SCALE = 0, _ROW, 2 * _ROW, 3 * _ROW
_EXCESS = 4 * _ROW  # a tile's worth of rows, all the same
_SCORES = _EXCESS + 16 * _ROW
_WEIGHTS = _SCORES + (_BLOCK + 16) * _ROW
_BY_WIDTH = _WEIGHTS + _BLOCK * _ROW
# ... then, in units of `width` rows of 64 bytes: query rows, query panel, sums, context, turned context, ...
_UNITS = 5


def scratch_bytes(tokens: int, width: int) -> int:
    """Scratch memory that a head of `width` columns needs for texts of up to `tokens` tokens."""
    keys = -(-tokens // 16) * 16
    # ... and last the values' scales, offsets, keys' scales, codes of the keys (1 byte) and of the values (2 bytes).
    return _BY_WIDTH + (_UNITS + 2) * width * _ROW + keys * (4 + 3 * width)


def _make_rows(dot: Dot) -> Any:
    """Kernel: `count` rows (rounded up to the tile's height) x one panel."""
    height = _isa.attention_rows
    tile = make_tile(dot, height, 1)

    def rows(row, count, row_stride, row_step, panel, steps, out):
        for first in range(0, count, height):
            tile(row + first * row_stride, row_stride, row_step, panel, 0, steps, out + first * _ROW, _ROW)

    return kernel(void, *[int64] * 7)(rows)


_int8_rows = _make_rows(_isa.int8)
_int16_rows = _make_rows(_isa.int16)
_float32_rows = _make_rows(_isa.float32)


@kernel(void, int64, int64, int64, int64, int64, int64)
def quantize_values(value, stride, tokens, width, codes, scale):
    """16-bit codes of a head's values, one scale a column; two keys of a dimension lie side by side in 4 bytes."""
    for column in range(0, width * 4, _ROW):
        largest = splat_f32(_ZERO)
        for token in range(tokens):
            largest = maximum(magnitude(load_f32x16(value + token * stride + column)), largest)
        least = splat_f32(_SMALLEST)
        store_f32x16(scale + column, zero_below(largest, least, largest * splat_f32(_INVERSE_VALUE_LIMIT)))
        inverse = zero_below(largest, least, splat_f32(_VALUE_LIMIT) / largest)
        for token in range(0, tokens, 2):
            row = value + token * stride + column
            pair = low_word(round_to_i32(load_f32x16(row) * inverse))
            if token + 1 < tokens:
                pair = pair | shift_left(round_to_i32(load_f32x16(row + stride) * inverse), _HALF_WORD)
            store_i32x16(codes + token * width * 2 + column, pair)


@kernel(void, int64, int64, int64)
def softmax_start(scratch, width, context):
    """Before the first block of keys: no weight seen, no context."""
    store_f32x16(scratch + _TOTAL, splat_f32(_ZERO))
    store_f32x16(scratch + _LARGEST, splat_f32(_LOWEST))
    for dim in range(width):
        store_f32x16(context + dim * _ROW, splat_f32(_ZERO))


@kernel(void, int64, int64)
def softmax_maximum(scratch, keys):
    """The running maximum with this block's scores, and the factor that brings older sums to it."""
    largest = load_f32x16(scratch + _LARGEST)
    highest = largest
    for key in range(keys):
        highest = maximum(load_f32x16(scratch + _SCORES + key * _ROW), highest)
    store_f32x16(scratch + _LARGEST, highest)
    store_f32x16(scratch + _CORRECTION, exp2(largest - highest))


@kernel(void, int64, int64, int64)
def scale_scores(scratch, keys, key_scale):
    """Integer scores of a block, in place, as float32 in units of powers of two."""
    query_scale = load_f32x16(scratch + _QUERY_SCALE)
    offset = load_i32x16(scratch + _EXCESS)
    for key in range(keys):
        row = scratch + _SCORES + key * _ROW
        score = to_f32(load_i32x16(row) - offset) * splat_f32(load_f32(key_scale + 4 * key))
        store_f32x16(row, score * query_scale)


@kernel(void, int64, int64)
def softmax_integer(scratch, keys):
    """Weights of a block as 16-bit codes, two keys side by side, and their sum."""
    highest = load_f32x16(scratch + _LARGEST)
    limit = splat_f32(_WEIGHT_LIMIT)
    total = splat_i32(_NOTHING)
    for key in range(0, keys, 2):
        row = scratch + _SCORES + key * _ROW
        pair = round_to_i32(exp2(load_f32x16(row) - highest) * limit)
        total = total + pair
        if key + 1 < keys:
            second = round_to_i32(exp2(load_f32x16(row + _ROW) - highest) * limit)
            total = total + second
            pair = pair | shift_left(second, _HALF_WORD)
        store_i32x16(scratch + _WEIGHTS + key * (_ROW // 2), pair)
    older = load_f32x16(scratch + _TOTAL) * load_f32x16(scratch + _CORRECTION)
    store_f32x16(scratch + _TOTAL, older + to_f32(total))


@kernel(void, int64, int64)
def softmax_float32(scratch, keys):
    """Weights of a block as float32, and their sum."""
    highest = load_f32x16(scratch + _LARGEST)
    total = load_f32x16(scratch + _TOTAL) * load_f32x16(scratch + _CORRECTION)
    for key in range(keys):
        weight = exp2(load_f32x16(scratch + _SCORES + key * _ROW) - highest)
        total = total + weight
        store_f32x16(scratch + _WEIGHTS + key * _ROW, weight)
    store_f32x16(scratch + _TOTAL, total)


@kernel(void, int64, int64, int64, int64, int64, int64)
def store_context(scratch, context, width, turned, out, count):
    """Context [dim][query] over the softmax sums, turned into `count` rows of `width` columns at `out`."""
    inverse = splat_f32(_ONE) / load_f32x16(scratch + _TOTAL)
    for dim in range(width):
        store_f32x16(context + dim * _ROW, load_f32x16(context + dim * _ROW) * inverse)
    for dim in range(0, width, 16):
        transpose_16x16(context + dim * _ROW, _ROW, turned + dim * 4, width * 4)


@kernel(void, int64, int64, int64, int64, int64)
def copy_rows(source, width, count, target, stride):
    """`count` rows of `width` floats to rows `stride` bytes apart."""
    for row in range(count):
        for column in range(0, width * 4, _ROW):
            store_f32x16(target + row * stride + column, load_f32x16(source + row * width * 4 + column))


@kernel(void, int64, int64, int64, int64, int64, int64, int64, float32, int64, int64, int64)
def attend_integer(query, key, value, stride, tokens, capacity, width, scale, out, out_stride, scratch):
    """One head: rows of float32 `stride` bytes apart in, context rows `out_stride` bytes apart out.

    `scale` is log2(e) / sqrt(head size); `capacity` (a multiple of 16, at least `tokens`) spaces the scratch memory.
    """
    unit = width * _ROW
    query_rows = scratch + _BY_WIDTH
    panel = query_rows + unit
    sums = panel + unit
    context = sums + unit
    turned = context + unit
    value_scale = turned + unit
    offsets = value_scale + unit
    key_scale = offsets + unit
    key_codes = key_scale + capacity * 4
    value_codes = key_codes + capacity * width

    for token in range(tokens):
        quantize(key + token * stride, width, 0, key_codes + token * width, key_scale + 4 * token)
    quantize_values(value, stride, tokens, width, value_codes, value_scale)
    for dim in range(0, width, 4):
        store_i32(offsets + dim, _OFFSETS)
    store_i32x16(scratch + _EXCESS, splat_i32(_NOTHING))

    for first in range(0, tokens, 16):
        count = min(tokens - first, 16)
        for row in range(count):
            quantize(
                query + (first + row) * stride,
                width,
                0,
                query_rows + row * width,
                scratch + _QUERY_SCALE + 4 * row,
            )
        store_f32x16(scratch + _QUERY_SCALE, load_f32x16(scratch + _QUERY_SCALE) * splat_f32(scale))
        # [query][4 bytes of dimensions] -> [4 bytes of dimensions][query]: 16 groups, that is 64 dimensions, at a time
        for dim in range(0, width, 64):
            transpose_16x16(query_rows + dim, width, panel + dim * 16, _ROW)
        if _OFFSET != 0:
            for dim in range(0, width, 4):
                store_i32x16(panel + dim * 16, exclusive_or(load_i32x16(panel + dim * 16), _OFFSETS))
            # Keys are stored with 128 added; a row of 128 gives what that adds to every score.
            _int8_rows(offsets, 1, 0, 4, panel, width >> 2, scratch + _EXCESS)

        softmax_start(scratch, width, context)
        for block in range(0, tokens, _BLOCK):
            keys = min(tokens - block, _BLOCK)
            _int8_rows(key_codes + block * width, keys, width, 4, panel, width >> 2, scratch + _SCORES)
            scale_scores(scratch, keys, key_scale + 4 * block)
            softmax_maximum(scratch, keys)
            softmax_integer(scratch, keys)
            _int16_rows(
                value_codes + block * width * 2, width, 4, width * 4, scratch + _WEIGHTS, (keys + 1) >> 1, sums
            )
            correction = load_f32x16(scratch + _CORRECTION)
            for dim in range(width):
                row = context + dim * _ROW
                store_f32x16(row, load_f32x16(row) * correction + to_f32(load_i32x16(sums + dim * _ROW)))
        for dim in range(width):
            row = context + dim * _ROW
            store_f32x16(row, load_f32x16(row) * splat_f32(load_f32(value_scale + 4 * dim)))
        store_context(scratch, context, width, turned, out, count)
        copy_rows(turned, width, count, out + first * out_stride, out_stride)


@kernel(void, int64, int64, int64, int64, int64, int64, float32, int64, int64, int64)
def attend_float32(query, key, value, stride, tokens, width, scale, out, out_stride, scratch):
    """`attend_integer` with float32 products; keys and values are read where they are.

    A tile reads up to its height in rows, so rows beyond the last key must be readable memory.
    """
    unit = width * _ROW
    query_rows = scratch + _BY_WIDTH
    panel = query_rows + unit
    sums = panel + unit
    context = sums + unit
    turned = context + unit

    for first in range(0, tokens, 16):
        count = min(tokens - first, 16)
        for row in range(count):
            for column in range(0, width * 4, _ROW):
                x = load_f32x16(query + (first + row) * stride + column) * splat_f32(scale)
                store_f32x16(query_rows + row * width * 4 + column, x)
        for dim in range(0, width, 16):
            transpose_16x16(query_rows + dim * 4, width * 4, panel + dim * _ROW, _ROW)

        softmax_start(scratch, width, context)
        for block in range(0, tokens, _BLOCK):
            keys = min(tokens - block, _BLOCK)
            _float32_rows(key + block * stride, keys, stride, 4, panel, width, scratch + _SCORES)
            softmax_maximum(scratch, keys)
            softmax_float32(scratch, keys)
            _float32_rows(value + block * stride, width, 4, stride, scratch + _WEIGHTS, keys, sums)
            correction = load_f32x16(scratch + _CORRECTION)
            for dim in range(width):
                row = context + dim * _ROW
                store_f32x16(row, load_f32x16(row) * correction + load_f32x16(sums + dim * _ROW))
        store_context(scratch, context, width, turned, out, count)
        copy_rows(turned, width, count, out + first * out_stride, out_stride)
