"""Integer codes of queries, keys and values. Twin: minibert.reference.functions.quantize_symmetric."""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.kernel import int32, int64, kernel, void
from minibert.kernels.scratch import ROW
from minibert.kernels.simd import (
    bits_of,
    f32x16,
    i32x16,
    larger,
    load_f32x16,
    low_byte,
    magnitude,
    shift_left,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_i32x16,
    transpose_16x16,
    zero_below,
)

_LIMIT = np.float32(numerics.ATTENTION_LIMIT)
_INVERSE_LIMIT = np.float32(1.0 / numerics.ATTENTION_LIMIT)
_VALUE_LIMIT = np.float32(numerics.VALUE_LIMIT)
_INVERSE_VALUE_LIMIT = np.float32(1.0 / numerics.VALUE_LIMIT)
_SMALLEST = np.float32(numerics.SMALLEST_SPAN)
_ROUND_MAGIC = np.float32(numerics.ROUND_MAGIC)
_ZERO = np.float32(0)
_NOTHING = np.int32(0)
_BYTE1, _BYTE2, _BYTE3 = np.int32(8), np.int32(16), np.int32(24)


@kernel(void, int64, int64, int64, int64)
def transpose(source, stride, width, transposed):
    """16 rows of `width` floats, `stride` bytes apart, become `width` rows of 16."""
    for dim in range(0, width, 16):
        transpose_16x16(source + dim * 4, stride, transposed + dim * ROW, ROW)


@kernel(f32x16, int64, int64, int64)
def largest_magnitudes(rows, stride, count):
    """Of `count` rows of 16, `stride` bytes apart, lane by lane."""
    first = splat_f32(_ZERO)
    second, third, fourth = first, first, first  # each maximum depends on the one before: four chains hide its latency
    for row in range(0, count - 3, 4):
        place = rows + row * stride
        first = larger(magnitude(load_f32x16(place)), first)
        second = larger(magnitude(load_f32x16(place + stride)), second)
        third = larger(magnitude(load_f32x16(place + 2 * stride)), third)
        fourth = larger(magnitude(load_f32x16(place + 3 * stride)), fourth)
    for row in range(count & -4, count):
        first = larger(magnitude(load_f32x16(rows + row * stride)), first)
    return larger(larger(first, second), larger(third, fourth))


@kernel(i32x16, int64, int64, int32, int64, int64)
def pack_panel(transposed, width, offset, panel, scale):
    """int8 codes of 16 queries or keys, transposed: [4 dimensions][16][4 bytes] with `offset` added, 16 scales.

    Returns the sum of the codes of each.
    """
    largest, least = largest_magnitudes(transposed, ROW, width), splat_f32(_SMALLEST)
    store_f32x16(scale, zero_below(largest, least, largest * splat_f32(_INVERSE_LIMIT)))
    inverse = zero_below(largest, least, splat_f32(_LIMIT) / largest)
    # Adding the magic number leaves the code, offset included, in the low bits of the float.
    magic = splat_f32(_ROUND_MAGIC + np.float32(offset))
    total = splat_i32(_NOTHING)
    for dim in range(0, width, 4):
        row = transposed + dim * ROW
        bits0 = bits_of(load_f32x16(row) * inverse + magic)
        bits1 = bits_of(load_f32x16(row + ROW) * inverse + magic)
        bits2 = bits_of(load_f32x16(row + 2 * ROW) * inverse + magic)
        bits3 = bits_of(load_f32x16(row + 3 * ROW) * inverse + magic)
        total = total + ((bits0 + bits1) + (bits2 + bits3))
        low = low_byte(bits0) | shift_left(low_byte(bits1), _BYTE1)
        high = shift_left(low_byte(bits2), _BYTE2) | shift_left(bits3, _BYTE3)
        store_i32x16(panel + dim * 16, low | high)
    return total - bits_of(magic) * splat_i32(np.int32(width))


@kernel(f32x16, int64, int64, int64, int64)
def value_steps(value, stride, tokens, scale):
    """Scales of 16 columns of values, stored, and the steps of a code in one, returned."""
    largest, least = largest_magnitudes(value, stride, tokens), splat_f32(_SMALLEST)
    store_f32x16(scale, zero_below(largest, least, largest * splat_f32(_INVERSE_VALUE_LIMIT)))
    return zero_below(largest, least, splat_f32(_VALUE_LIMIT) / largest)
