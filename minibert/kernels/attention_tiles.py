"""Integer attention's operands and products where registers hold tiles (minibert.kernels.tile_registers).

    scores [key][16 queries]    rows: the keys, [key][dimensions]      panel: the queries
    context [dim][16 queries]   rows: the values, [dim][keys]          panel: the softmax weights

Tiles multiply bytes, while values and weights take 13 bits: each is a high byte and a low one, and of their four
products come the same integers that int16 would give. What a tile has beyond the last dimension or key is multiplied
by zeros in the panel. Sibling of minibert.kernels.attention_vectors.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.attention_codes import pack_panel, value_steps
from minibert.kernels.isa import current
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.scratch import LARGEST, ROW, SCORES, WEIGHTS
from minibert.kernels.simd import (
    i32x16,
    load_f32,
    load_f32x16,
    load_i32x16,
    low_bytes,
    round_to_i32,
    shift_left,
    shift_right,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_i32x16,
    store_low_bytes,
    transpose_16x16,
)
from minibert.kernels.softmax import add_weights, both_int16, mask_absent, weights_of
from minibert.kernels.tile_registers import ROW_BYTES, ROWS, make_panels, make_two_byte_tile, stay_awake

_isa = current()
assert _isa.tile_registers
_KEY_OFFSET = np.int32(_isa.code_offset)
_NOTHING = np.int32(0)
_BYTE, _INT16_BITS = np.int32(8), np.int32(16)
#: Bytes of the weights' low halves, before the high ones: four keys a row.
_HALF = numerics.KEY_BLOCK // 4 * ROW
#: Three tiles of sums: high x high, high x low and low x high, low x low.
_TILE = ROWS * ROW

_score_rows = make_panels(_isa.tile_registers, 1)
_two_byte_tile = make_two_byte_tile(_isa.tile_registers)


@kernel(int64, int64)
def whole_tiles(count):
    """A number of bytes, rounded up to rows of a tile."""
    return (count + ROW_BYTES - 1) & -ROW_BYTES


@kernel(int64, int64)
def key_bytes(width):
    """Bytes of a key's codes."""
    return whole_tiles(width)


@kernel(void, int64, int64, int64, int64, int64)
def pack_keys(transposed, width, panel, codes, scale):
    """Codes of 16 keys, a row of whole tiles each, with their scales. `panel` has room for them, transposed."""
    pack_panel(transposed, width, _KEY_OFFSET, panel, scale)
    stride = key_bytes(width)
    for dim in range(0, stride, ROW_BYTES):
        transpose_16x16(panel + dim * 16, ROW, codes + dim, stride)


@kernel(void, int64, int64)
def pad_panel(panel, width):
    """Zeros behind the last dimension of a panel of queries, up to whole tiles: once, for packing leaves them there."""
    for dim in range(width, whole_tiles(width), 4):
        store_i32x16(panel + dim * 16, splat_i32(_NOTHING))


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def pack_values(value, stride, tokens, width, capacity, codes, scale, transposed):
    """Low bytes, then high ones, of a head's values: [dim][capacity], one scale a dimension."""
    steps = transposed + 16 * ROW
    high = codes + width * capacity
    for dim in range(0, width, 16):
        column = dim * 4
        store_f32x16(steps, value_steps(value + column, stride, tokens, scale + column))
        for token in range(0, tokens, 16):
            transpose_16x16(value + token * stride + column, stride, transposed, ROW)
            place = dim * capacity + token
            for row in range(16):
                code = round_to_i32(load_f32x16(transposed + row * ROW) * splat_f32(load_f32(steps + 4 * row)))
                store_low_bytes(codes + place + row * capacity, code)
                store_low_bytes(high + place + row * capacity, shift_right(code, _BYTE))


@kernel(void, int64, int64, int64, int64, int64, int64)
def score_block(scratch, key_codes, block, keys, width, panel):
    """Integer scores of `keys` keys from number `block` on."""
    stride = key_bytes(width)
    _score_rows(key_codes + block * stride, keys, stride, stride, panel, scratch + SCORES, ROW)


@kernel(void, int64, i32x16, i32x16)
def store_weights(place, even, odd):
    """Weights of four keys, low and high bytes apart; `even` has the first and the third, `odd` the others."""
    store_i32x16(place, low_bytes(even) | shift_left(low_bytes(odd), _BYTE))
    store_i32x16(
        place + _HALF, low_bytes(shift_right(even, _BYTE)) | shift_left(low_bytes(shift_right(odd, _BYTE)), _BYTE)
    )


@kernel(void, int64, int64)
def weigh_block(scratch, keys):
    """Weights of a block, low bytes, then high ones, four keys side by side; and their sum."""
    stay_awake()
    mask_absent(scratch, keys)
    largest, none = load_f32x16(scratch + LARGEST), splat_i32(_NOTHING)
    total = none
    for key in range(0, keys, 4):
        row = scratch + SCORES + key * ROW
        even, odd = weights_of(row, row + 2 * ROW, largest), weights_of(row + ROW, row + 3 * ROW, largest)
        store_weights(scratch + WEIGHTS + key * (ROW // 4), even, odd)
        total = total + both_int16(even + odd)
    for absent in range((keys + 3) & -4, whole_tiles(keys), 4):
        store_weights(scratch + WEIGHTS + absent * (ROW // 4), none, none)
    add_weights(scratch, total)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def context_block(scratch, value_codes, block, keys, width, capacity, sums):
    """Weights of a block x its values: int32 [width][16]."""
    weights, tiles = scratch + WEIGHTS, scratch + WEIGHTS + 2 * _HALF
    inner = whole_tiles(keys)
    for dim in range(0, width, 16):
        low = value_codes + dim * capacity + block
        _two_byte_tile(low, low + width * capacity, capacity, weights, weights + _HALF, inner, tiles)
        for row in range(0, _TILE, ROW):
            high, middle = load_i32x16(tiles + row), load_i32x16(tiles + _TILE + row)
            exact = shift_left(shift_left(high, _BYTE) + middle, _BYTE) + load_i32x16(tiles + 2 * _TILE + row)
            store_i32x16(sums + dim * ROW + row, exact)
