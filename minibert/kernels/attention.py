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
from minibert.kernels.functions import exp2, softmax_weight
from minibert.kernels.isa import current
from minibert.kernels.isa.words import Dot
from minibert.kernels.kernel import float32, int32, int64, kernel, void
from minibert.kernels.simd import (
    bits_of,
    f32x16,
    i32x16,
    load_f32,
    load_f32x16,
    load_i32x16,
    low_byte,
    low_word,
    magnitude,
    maximum,
    round_to_i32,
    shift_left,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_i32x16,
    to_f32,
    transpose_16x16,
    zero_below,
)
from minibert.kernels.tile import make_tile

_isa = current()
_KEY_OFFSET = np.int32(_isa.code_offset)
_BLOCK = numerics.KEY_BLOCK
_LOWEST = np.float32(numerics.LOWEST_SCORE)
_LIMIT = np.float32(numerics.ATTENTION_LIMIT)
_INVERSE_LIMIT = np.float32(1.0 / numerics.ATTENTION_LIMIT)
_VALUE_LIMIT = np.float32(numerics.VALUE_LIMIT)
_INVERSE_VALUE_LIMIT = np.float32(1.0 / numerics.VALUE_LIMIT)
_WEIGHT_BITS = np.float32(numerics.WEIGHT_BITS)
_SMALLEST = np.float32(numerics.SMALLEST_SPAN)
_ZERO, _ONE = np.float32(0), np.float32(1)
_ROUND_MAGIC = np.float32(numerics.ROUND_MAGIC)
_NOTHING = np.int32(0)
_BYTE1, _BYTE2, _BYTE3 = np.int32(8), np.int32(16), np.int32(24)

# Scratch of a head, in bytes from its start: first what a block of keys and 16 queries need ...
_ROW = 64  # 16 lanes of 4 bytes
_TOTAL, _LARGEST, _CORRECTION, _QUERY_SCALE, _OFFSET = 0, _ROW, 2 * _ROW, 3 * _ROW, 4 * _ROW
_SCORES = 5 * _ROW
_WEIGHTS = _SCORES + (_BLOCK + 16) * _ROW
_BY_WIDTH = _WEIGHTS + _BLOCK * _ROW
# ... then, in units of `width` rows of 64 bytes: turned rows, query panel, sums, context, the values' scales, ...
_UNITS = 5


def scratch_bytes(tokens: int, width: int) -> int:
    """Scratch memory that a head of `width` columns needs for texts of up to `tokens` tokens."""
    keys = -(-tokens // 16) * 16
    # ... and last scales of the keys, codes of the keys (1 byte) and of the values (2 bytes).
    return _BY_WIDTH + _UNITS * width * _ROW + keys * (4 + 3 * width)


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


@kernel(void, int64, int64, int64, int64)
def turn(source, stride, width, turned):
    """16 rows of `width` floats, `stride` bytes apart, become `width` rows of 16."""
    for dim in range(0, width, 16):
        transpose_16x16(source + dim * 4, stride, turned + dim * _ROW, _ROW)


@kernel(i32x16, int64, int64, int32, int64, int64)
def pack_panel(turned, width, offset, panel, scale):
    """int8 codes of 16 queries or keys, turned: [4 dimensions][16][4 bytes] with `offset` added, 16 scales.

    Returns the sum of the codes of each.
    """
    largest = splat_f32(_ZERO)
    for dim in range(width):
        largest = maximum(magnitude(load_f32x16(turned + dim * _ROW)), largest)
    least = splat_f32(_SMALLEST)
    store_f32x16(scale, zero_below(largest, least, largest * splat_f32(_INVERSE_LIMIT)))
    inverse = zero_below(largest, least, splat_f32(_LIMIT) / largest)
    # Adding the magic number leaves the code, offset included, in the low bits of the float.
    magic = splat_f32(_ROUND_MAGIC + np.float32(offset))
    total = splat_i32(_NOTHING)
    for dim in range(0, width, 4):
        row = turned + dim * _ROW
        bits0 = bits_of(load_f32x16(row) * inverse + magic)
        bits1 = bits_of(load_f32x16(row + _ROW) * inverse + magic)
        bits2 = bits_of(load_f32x16(row + 2 * _ROW) * inverse + magic)
        bits3 = bits_of(load_f32x16(row + 3 * _ROW) * inverse + magic)
        total = total + ((bits0 + bits1) + (bits2 + bits3))
        low = low_byte(bits0) | shift_left(low_byte(bits1), _BYTE1)
        high = shift_left(low_byte(bits2), _BYTE2) | shift_left(bits3, _BYTE3)
        store_i32x16(panel + dim * 16, low | high)
    return total - bits_of(magic) * splat_i32(np.int32(width))


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
                pair = pair | shift_left(round_to_i32(load_f32x16(row + stride) * inverse), _BYTE2)
            store_i32x16(codes + token * width * 2 + column, pair)


@kernel(void, int64)
def softmax_start(scratch):
    """Before the first block of keys: no weight seen."""
    store_f32x16(scratch + _TOTAL, splat_f32(_ZERO))
    store_f32x16(scratch + _LARGEST, splat_f32(_LOWEST))


@kernel(void, int64, f32x16)
def raise_maximum(scratch, highest):
    """A new running maximum, and the factor that brings older sums to it."""
    largest = load_f32x16(scratch + _LARGEST)
    store_f32x16(scratch + _LARGEST, highest)
    store_f32x16(scratch + _CORRECTION, exp2(largest - highest))


@kernel(void, int64, int64)
def score_maximum(scratch, keys):
    """The running maximum with this block's float32 scores."""
    highest = load_f32x16(scratch + _LARGEST)
    for key in range(keys):
        highest = maximum(load_f32x16(scratch + _SCORES + key * _ROW), highest)
    raise_maximum(scratch, highest)


@kernel(void, int64, int64, int64)
def scale_scores(scratch, keys, key_scale):
    """Integer scores of a block, in place, as float32 in units of powers of two; and the running maximum."""
    query_scale = load_f32x16(scratch + _QUERY_SCALE)
    offset = load_i32x16(scratch + _OFFSET)
    highest = load_f32x16(scratch + _LARGEST)
    for key in range(keys):
        row = scratch + _SCORES + key * _ROW
        score = (to_f32(load_i32x16(row) - offset) * splat_f32(load_f32(key_scale + 4 * key))) * query_scale
        store_f32x16(row, score)
        highest = maximum(score, highest)
    raise_maximum(scratch, highest)


@kernel(void, int64, int64, int64)
def add_biases(scratch, keys, bias):
    """Float32 scores of a block + what is added by distance; `bias` is the address for the first query and key."""
    for key in range(keys):
        row = scratch + _SCORES + key * _ROW
        store_f32x16(row, load_f32x16(row) + load_f32x16(bias - 4 * key))


@kernel(void, int64, int64, int64, int64)
def scale_and_bias_scores(scratch, keys, key_scale, bias):
    """`scale_scores` with biases by distance added."""
    query_scale = load_f32x16(scratch + _QUERY_SCALE)
    offset = load_i32x16(scratch + _OFFSET)
    for key in range(keys):
        row = scratch + _SCORES + key * _ROW
        score = (to_f32(load_i32x16(row) - offset) * splat_f32(load_f32(key_scale + 4 * key))) * query_scale
        store_f32x16(row, score)
    add_biases(scratch, keys, bias)
    score_maximum(scratch, keys)


@kernel(void, int64, int64)
def softmax_integer(scratch, keys):
    """Weights of a block as 16-bit codes, two keys side by side, and their sum."""
    highest, bits = load_f32x16(scratch + _LARGEST), splat_f32(_WEIGHT_BITS)
    total = splat_i32(_NOTHING)
    for key in range(0, keys - 1, 2):
        row = scratch + _SCORES + key * _ROW
        first = round_to_i32(softmax_weight((load_f32x16(row) - highest) + bits))
        second = round_to_i32(softmax_weight((load_f32x16(row + _ROW) - highest) + bits))
        total = total + (first + second)
        store_i32x16(scratch + _WEIGHTS + key * (_ROW // 2), first | shift_left(second, _BYTE2))
    if keys & 1:
        key = keys - 1
        last = round_to_i32(softmax_weight((load_f32x16(scratch + _SCORES + key * _ROW) - highest) + bits))
        total = total + last
        store_i32x16(scratch + _WEIGHTS + key * (_ROW // 2), last)
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
def store_context(context, width, turned, count, out, stride):
    """Context [dim][16 queries] becomes `count` rows of `width` columns, `stride` bytes apart."""
    for dim in range(0, width, 16):
        transpose_16x16(context + dim * _ROW, _ROW, turned, _ROW)
        for row in range(count):
            store_f32x16(out + row * stride + dim * 4, load_f32x16(turned + row * _ROW))


@kernel(void, int64, int64, int64, int64, int64, int64, int64, float32, int64, int64, int64, int64, int64)
def attend_integer(query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, scratch):
    """One head: rows of float32 `stride` bytes apart in; context rows of the first `queries`, `out_stride` apart, out.

    `scale` is log2(e) / sqrt(head size). `bias` is the address of what is added to scores of distance 0, or 0; the
    next entry is for a query one further behind its key. No key further than `window` from all of 16 queries is read.
    Up to 15 rows beyond the last token are read (and ignored).
    """
    unit = width * _ROW
    turned = scratch + _BY_WIDTH
    panel = turned + unit
    sums = panel + unit
    context = sums + unit
    value_scale = context + unit
    key_scale = value_scale + unit
    capacity = (tokens + 15) & -16
    key_codes = key_scale + capacity * 4
    value_codes = key_codes + capacity * width

    for first in range(0, tokens, 16):
        turn(key + first * stride, stride, width, turned)
        pack_panel(turned, width, _KEY_OFFSET, key_codes + first * width, key_scale + first * 4)
    quantize_values(value, stride, tokens, width, value_codes, value_scale)

    for first in range(0, queries, 16):
        turn(query + first * stride, stride, width, turned)
        total = pack_panel(turned, width, _NOTHING, panel, scratch + _QUERY_SCALE)
        store_f32x16(scratch + _QUERY_SCALE, load_f32x16(scratch + _QUERY_SCALE) * splat_f32(scale))
        # Keys are stored with an offset added: what that adds to every score of a query.
        store_i32x16(scratch + _OFFSET, total * splat_i32(_KEY_OFFSET))

        softmax_start(scratch)
        end = min(tokens, first + 16 + window)
        start = max(0, first - window) & -16
        for block in range(start, end, _BLOCK):
            keys = min(end - block, _BLOCK)
            for group in range(0, keys, 16):
                rows = key_codes + (block + group) * width
                count = min(keys - group, 16)
                _int8_rows(rows, count, 4, _ROW, panel, width >> 2, scratch + _SCORES + group * _ROW)
            if bias != 0:
                scale_and_bias_scores(scratch, keys, key_scale + 4 * block, bias + 4 * (first - block))
            else:
                scale_scores(scratch, keys, key_scale + 4 * block)
            softmax_integer(scratch, keys)
            rows = value_codes + block * width * 2
            _int16_rows(rows, width, 4, width * 4, scratch + _WEIGHTS, (keys + 1) >> 1, sums)
            if block == start:
                for dim in range(width):
                    store_f32x16(context + dim * _ROW, to_f32(load_i32x16(sums + dim * _ROW)))
            else:
                correction = load_f32x16(scratch + _CORRECTION)
                for dim in range(width):
                    row = context + dim * _ROW
                    store_f32x16(row, load_f32x16(row) * correction + to_f32(load_i32x16(sums + dim * _ROW)))
        inverse = splat_f32(_ONE) / load_f32x16(scratch + _TOTAL)
        for dim in range(width):
            row = context + dim * _ROW
            store_f32x16(row, (load_f32x16(row) * splat_f32(load_f32(value_scale + 4 * dim))) * inverse)
        store_context(context, width, turned, min(queries - first, 16), out + first * out_stride, out_stride)


@kernel(void, int64, int64, int64, int64, int64, int64, int64, float32, int64, int64, int64, int64, int64)
def attend_float32(query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, scratch):
    """`attend_integer` with float32 products; keys and values are read where they are."""
    unit = width * _ROW
    turned = scratch + _BY_WIDTH
    panel = turned + unit
    sums = panel + unit
    context = sums + unit
    scales = splat_f32(scale)

    for first in range(0, queries, 16):
        turn(query + first * stride, stride, width, panel)
        for dim in range(width):
            store_f32x16(panel + dim * _ROW, load_f32x16(panel + dim * _ROW) * scales)

        softmax_start(scratch)
        end = min(tokens, first + 16 + window)
        start = max(0, first - window) & -16
        for block in range(start, end, _BLOCK):
            keys = min(end - block, _BLOCK)
            _float32_rows(key + block * stride, keys, stride, 4, panel, width, scratch + _SCORES)
            if bias != 0:
                add_biases(scratch, keys, bias + 4 * (first - block))
            score_maximum(scratch, keys)
            softmax_float32(scratch, keys)
            if block == start:
                _float32_rows(value + block * stride, width, 4, stride, scratch + _WEIGHTS, keys, context)
            else:
                _float32_rows(value + block * stride, width, 4, stride, scratch + _WEIGHTS, keys, sums)
                correction = load_f32x16(scratch + _CORRECTION)
                for dim in range(width):
                    row = context + dim * _ROW
                    store_f32x16(row, load_f32x16(row) * correction + load_f32x16(sums + dim * _ROW))
        inverse = splat_f32(_ONE) / load_f32x16(scratch + _TOTAL)
        for dim in range(width):
            store_f32x16(context + dim * _ROW, load_f32x16(context + dim * _ROW) * inverse)
        store_context(context, width, turned, min(queries - first, 16), out + first * out_stride, out_stride)
