"""Softmax weights x values in 16 bits, where a CPU multiplies broadcast rows with panels (minibert.kernels.tile).

    context [dim][16 queries]   rows: the values, [2 keys][dim][2 int16]              panel: the softmax weights

Siblings, with the same kernels and the same integers: minibert.kernels.attention_planes and attention_tiles.
"""

from __future__ import annotations

import numpy as np

from minibert.kernels.attention_codes import value_steps
from minibert.kernels.attention_keys import key_bytes, make_rows, pack_keys, pad_panel, score_block
from minibert.kernels.isa import current
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.scratch import LARGEST, ROW, SCORES, WEIGHTS
from minibert.kernels.simd import load_f32x16, low_int16, round_to_i32, shift_left, splat_i32, store_i32x16
from minibert.kernels.softmax import add_weights, both_int16, mask_absent, weights_of

__all__ = ["context_block", "key_bytes", "pack_keys", "pack_values", "pad_panel", "score_block", "weigh_block"]

_int16 = current().int16
assert _int16
_NOTHING, _INT16_BITS = np.int32(0), np.int32(16)
_int16_rows = make_rows(_int16)


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def pack_values(value, stride, tokens, width, capacity, codes, scale, transposed):
    """16-bit codes of a head's values, one scale a column."""
    for column in range(0, width * 4, ROW):
        inverse = value_steps(value + column, stride, tokens, scale + column)
        for token in range(0, tokens, 2):
            row = value + token * stride + column
            pair = low_int16(round_to_i32(load_f32x16(row) * inverse))
            if token + 1 < tokens:
                pair = pair | shift_left(round_to_i32(load_f32x16(row + stride) * inverse), _INT16_BITS)
            store_i32x16(codes + token * width * 2 + column, pair)


@kernel(void, int64, int64)
def weigh_block(scratch, keys):
    """Weights of a block as 16-bit codes, two keys side by side, and their sum."""
    mask_absent(scratch, keys)
    largest = load_f32x16(scratch + LARGEST)
    total = splat_i32(_NOTHING)
    for key in range(0, keys, 4):
        row, place = scratch + SCORES + key * ROW, scratch + WEIGHTS + key * (ROW // 2)
        first, second = weights_of(row, row + ROW, largest), weights_of(row + 2 * ROW, row + 3 * ROW, largest)
        store_i32x16(place, first)
        store_i32x16(place + ROW, second)
        total = total + both_int16(first + second)
    add_weights(scratch, total)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def context_block(scratch, value_codes, block, keys, width, capacity, sums):
    """Weights of a block x its values: int32 [width][16]."""
    _int16_rows(value_codes + block * width * 2, width, 4, width * 4, scratch + WEIGHTS, (keys + 1) >> 1, sums)
