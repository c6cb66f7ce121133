"""Softmax weights x values in planes of bytes, where a CPU multiplies bytes far faster than int16: ARM's dot products.

    context [dim][16 queries]   rows: the values, [4 keys][dim][4 bytes]              panel: the softmax weights

Both take 13 bits, with the sign of values: a high part h and a low one l of six bits, v = 64 h + l. Three products of
bytes are enough for theirs (Karatsuba), since h + l fits a byte too: with s = (h + l)(h' + l'),

    v v' = 4096 h h' + 64 (s - h h' - l l') + l l'

Siblings, with the same kernels and the same integers: minibert.kernels.attention_vectors and attention_tiles.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.attention_codes import value_steps
from minibert.kernels.attention_keys import key_bytes, pack_keys, pad_panel, score_block
from minibert.kernels.isa import current
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.scratch import LARGEST, ROW, SCORES, WEIGHTS
from minibert.kernels.simd import (
    add_bytes,
    i32x16,
    load_f32x16,
    load_i32x16,
    low_bytes,
    low_int16,
    low_six_bits,
    round_to_i32,
    shift_left,
    shift_right,
    splat_i32,
    store_i32x16,
)
from minibert.kernels.softmax import add_weights, both_int16, mask_absent, weights_of
from minibert.kernels.tile import make_tile

__all__ = ["context_block", "key_bytes", "pack_keys", "pack_values", "pad_panel", "score_block", "weigh_block"]

_isa = current()
_NOTHING = np.int32(0)
_LOW_BITS, _BYTE, _INT16_BITS = np.int32(6), np.int32(8), np.int32(16)
#: Bytes of a plane of a block's weights: low parts, then high ones, then their sums.
_PLANE = numerics.KEY_BLOCK // 4 * ROW
#: Dimensions of a tile; sums of the three products stand behind the weights.
_HEIGHT = _isa.attention_mr
_SUMS = WEIGHTS + 3 * _PLANE
_TILE = _HEIGHT * ROW
_tile = make_tile(_isa.int8, _HEIGHT, 1)


@kernel(void, int64, int64, i32x16, i32x16)
def store_planes(place, plane, even, odd):
    """Codes of four keys, a byte of each in each plane; `even` has the first and the third, `odd` the others."""
    low = low_six_bits(even) | shift_left(low_six_bits(odd), _BYTE)
    even_high, odd_high = low_bytes(shift_right(even, _LOW_BITS)), low_bytes(shift_right(odd, _LOW_BITS))
    high = even_high | shift_left(odd_high, _BYTE)
    store_i32x16(place, low)
    store_i32x16(place + plane, high)
    store_i32x16(place + 2 * plane, add_bytes(low, high))


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def pack_values(value, stride, tokens, width, capacity, codes, scale, transposed):
    """Planes of a head's values, one scale a column. Behind the last token its own value stands again, unweighted."""
    plane = width * capacity
    for column in range(0, width * 4, ROW):
        inverse = value_steps(value + column, stride, tokens, scale + column)
        for token in range(0, tokens, 4):
            row, last = value + token * stride + column, value + (tokens - 1) * stride + column
            first = round_to_i32(load_f32x16(row) * inverse)
            second = round_to_i32(load_f32x16(min(row + stride, last)) * inverse)
            third = round_to_i32(load_f32x16(min(row + 2 * stride, last)) * inverse)
            fourth = round_to_i32(load_f32x16(min(row + 3 * stride, last)) * inverse)
            even = low_int16(first) | shift_left(third, _INT16_BITS)
            odd = low_int16(second) | shift_left(fourth, _INT16_BITS)
            store_planes(codes + token * width + column, plane, even, odd)


@kernel(void, int64, int64)
def weigh_block(scratch, keys):
    """Weights of a block, in planes, and their sum."""
    mask_absent(scratch, keys)
    largest = load_f32x16(scratch + LARGEST)
    total = splat_i32(_NOTHING)
    for key in range(0, keys, 4):
        row = scratch + SCORES + key * ROW
        even, odd = weights_of(row, row + 2 * ROW, largest), weights_of(row + ROW, row + 3 * ROW, largest)
        store_planes(scratch + WEIGHTS + key * (ROW // 4), _PLANE, even, odd)
        total = total + both_int16(even + odd)
    add_weights(scratch, total)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def context_block(scratch, value_codes, block, keys, width, capacity, sums):
    """Weights of a block x its values: int32 [width][16]."""
    weights, parts = scratch + WEIGHTS, scratch + _SUMS
    steps, step, plane = (keys + 3) >> 2, 4 * width, width * capacity
    for dim in range(0, width, _HEIGHT):
        row = value_codes + block * width + 4 * dim
        _tile(row, 4, step, weights, 0, steps, parts, ROW)
        _tile(row + plane, 4, step, weights + _PLANE, 0, steps, parts + _TILE, ROW)
        _tile(row + 2 * plane, 4, step, weights + 2 * _PLANE, 0, steps, parts + 2 * _TILE, ROW)
        for place in range(0, _TILE, ROW):
            low, high = load_i32x16(parts + place), load_i32x16(parts + _TILE + place)
            middle = load_i32x16(parts + 2 * _TILE + place) - high - low
            exact = shift_left(shift_left(high, _LOW_BITS) + middle, _LOW_BITS) + low
            store_i32x16(sums + dim * ROW + place, exact)
