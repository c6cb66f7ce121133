"""Integer attention's operands and products where a CPU multiplies broadcast rows with panels (minibert.kernels.tile).

    scores [key][16 queries]    rows: the keys, [4 dimensions][16 keys][4 bytes]      panel: the queries
    context [dim][16 queries]   rows: the values, [2 keys][dim][2 int16]              panel: the softmax weights

Sibling of minibert.kernels.attention_tiles, with the same kernels and the same integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert.kernels.attention_codes import pack_panel, value_steps
from minibert.kernels.isa import current
from minibert.kernels.isa.base import Microkernel
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.scratch import LARGEST, ROW, SCORES, WEIGHTS
from minibert.kernels.simd import load_f32x16, low_int16, round_to_i32, shift_left, splat_i32, store_i32x16
from minibert.kernels.softmax import add_weights, both_int16, mask_absent, weights_of
from minibert.kernels.tile import make_tile

_isa = current()
_KEY_OFFSET = np.int32(_isa.code_offset)
_NOTHING, _INT16_BITS = np.int32(0), np.int32(16)


def make_rows(microkernel: Microkernel) -> Any:
    """Kernel: `count` rows (rounded up to the tile's height) x one panel."""
    height = _isa.attention_mr
    tile = make_tile(microkernel, height, 1)

    def rows(row, count, row_stride, row_step, panel, steps, out):
        for first in range(0, count, height):
            tile(row + first * row_stride, row_stride, row_step, panel, 0, steps, out + first * ROW, ROW)

    return kernel(void, *[int64] * 7)(rows)


int8_rows = make_rows(_isa.int8)
_int16_rows = make_rows(_isa.int16)


@kernel(int64, int64)
def key_bytes(width):
    """Bytes of a key's codes."""
    return width


@kernel(void, int64, int64, int64, int64, int64)
def pack_keys(transposed, width, panel, codes, scale):
    """Codes of 16 keys, with their scales. `panel` has room for them that nobody uses here."""
    pack_panel(transposed, width, _KEY_OFFSET, codes, scale)


@kernel(void, int64, int64)
def pad_panel(panel, width):
    """A panel of queries needs nothing behind its last dimension."""


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


@kernel(void, int64, int64, int64, int64, int64, int64)
def score_block(scratch, key_codes, block, keys, width, panel):
    """Integer scores of `keys` keys from number `block` on."""
    for group in range(0, keys, 16):
        rows = key_codes + (block + group) * width
        count = min(keys - group, 16)
        int8_rows(rows, count, 4, ROW, panel, width >> 2, scratch + SCORES + group * ROW)


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
