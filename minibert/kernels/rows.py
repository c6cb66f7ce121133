"""What happens to rows (tokens) between two matrix products, a few at a time. Twins: minibert.reference.functions.

Rows stay in the first-level cache from the sums of one product to the codes of the next, and share what a column needs.
Sizes are in columns, multiples of 16; strides in bytes; an address of 0 means that the part is absent. Where a row's
codes are wanted, a factor always exists (all ones if nothing was migrated). The scales of rows that go together stand
side by side, and their zero points behind: what stands for zero among the stored bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels.functions import ROW_ACTIVATIONS
from minibert.kernels.isa import current
from minibert.kernels.kernel import dispatch, float32, int64, kernel, void
from minibert.kernels.opcodes import ACTIVATIONS
from minibert.kernels.row_vectors import (
    ZERO_POINT_OFFSET,
    along_i32_rows,
    along_rows,
    bits_of_f32_each,
    every_i32_row,
    every_row,
    fold_row_maxima,
    fold_row_minima,
    fold_row_sums,
    keep_first_lanes,
    larger,
    load_f32_each,
    load_i32_each,
    load_i32_rows,
    load_rows,
    max_f32_each,
    rows_to_f32,
    smaller,
    splat_f32_each,
    splat_i32_each,
    splat_rows,
    sqrt_f32_each,
    store_code_rows,
    store_f32_each,
    store_i32_each,
    store_rows,
    zero_below_f32_each,
)
from minibert.kernels.simd import load_f32x16, load_i32x16

_ZERO, _ONE = np.float32(0), np.float32(1)
_STEPS = np.float32(numerics.CODE_STEPS)
_INVERSE_STEPS = np.float32(1.0 / numerics.CODE_STEPS)
_SMALLEST = np.float32(numerics.SMALLEST_SPAN)
_TINY = np.float32(1e-12)
#: Added to a float of small magnitude, leaves its nearest integer in the lowest bits.
_MAGIC = np.float32(numerics.ROUND_MAGIC)
_MAGIC_BITS = _MAGIC.view(np.int32)
#: Added to zero, leaves the stored byte of HIGHEST_CODE.
_HIGHEST_MAGIC = np.float32(numerics.ROUND_MAGIC + numerics.HIGHEST_CODE + current().code_offset)


def _make_activate(activation: Any) -> tuple[Any, Any, Any]:
    """Kernels that turn sums into rows: of an int8 linear (dequantized), of a float32 one, and of rows and others.

    y = activation((sums - zero * weight_sum) * scale * weight_scale + bias)
    y = activation(sums + bias)
    y = activation(y + other)
    """

    def dequantize(sums, sums_stride, width, scale, weight_scale, weight_sum, bias, y, y_stride):
        scales, zeros = along_rows(load_f32_each(scale)), along_i32_rows(load_i32_each(scale + ZERO_POINT_OFFSET))
        for column in range(0, width * 4, 64):
            excess = every_i32_row(load_i32x16(weight_sum + column)) * zeros
            exact = rows_to_f32(load_i32_rows(sums + column, sums_stride) - excess)
            value = (exact * scales) * every_row(load_f32x16(weight_scale + column))
            store_rows(y + column, y_stride, activation(value + every_row(load_f32x16(bias + column))))

    def add_bias(sums, sums_stride, width, bias, y, y_stride):
        for column in range(0, width * 4, 64):
            value = load_rows(sums + column, sums_stride) + every_row(load_f32x16(bias + column))
            store_rows(y + column, y_stride, activation(value))

    def add_rows(y, y_stride, other, other_stride, width):
        for column in range(0, width * 4, 64):
            value = activation(load_rows(y + column, y_stride) + load_rows(other + column, other_stride))
            store_rows(y + column, y_stride, value)

    return (
        kernel(void, *[int64] * 9)(dequantize),
        kernel(void, *[int64] * 6)(add_bias),
        kernel(void, *[int64] * 5)(add_rows),
    )


#: By the number of an activation; "none" stands last, where no comparison is left to make.
_made = {ACTIVATIONS[name]: _make_activate(ROW_ACTIVATIONS[name]) for name in sorted(ACTIVATIONS, key="none".__eq__)}
#: Rows of an int8 linear from its int32 sums.
dequantize = dispatch({number: integer for number, (integer, _, _) in _made.items()}, *[int64] * 9)
#: Rows of a float32 linear from its float32 sums.
add_bias = dispatch({number: exact for number, (_, exact, _) in _made.items()}, *[int64] * 6)
#: Rows and what is added to them before they are activated: the residual, a low-rank part.
add_rows = dispatch({number: added for number, (_, _, added) in _made.items()}, *[int64] * 5)


@kernel(void, int64, int64, int64, int64)
def multiply_rows(y, y_stride, other, width):
    """y *= other, in rows as far apart."""
    for column in range(0, width * 4, 64):
        store_rows(y + column, y_stride, load_rows(y + column, y_stride) * load_rows(other + column, y_stride))


@kernel(void, int64, int64, int64)
def copy_rows(y, stride, out):
    """Out = y, both of `stride` bytes a row."""
    for column in range(0, stride, 64):
        store_rows(out + column, stride, load_rows(y + column, stride))


@kernel(void, int64, int64, int64, int64, float32, int64, int64, int64, int64)
def layer_norm(y, y_stride, width, size, eps, weight, bias, out, out_stride):
    """LayerNorm of the first `size` columns into `out`; columns from there to `width` are padding and stay zero.

    `y` is overwritten.
    """
    inverse = splat_f32_each(_ONE / np.float32(size))
    total = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        total = total + load_rows(y + column, y_stride)
    mean = along_rows(fold_row_sums(total) * inverse)
    square = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        centred = keep_first_lanes(load_rows(y + column, y_stride) - mean, size - (column >> 2))
        store_rows(y + column, y_stride, centred)
        square = square + centred * centred
    variance = fold_row_sums(square) * inverse + splat_f32_each(eps)
    scale = along_rows(splat_f32_each(_ONE) / sqrt_f32_each(variance))
    for column in range(0, width * 4, 64):
        value = (load_rows(y + column, y_stride) * scale) * every_row(load_f32x16(weight + column))
        store_rows(out + column, out_stride, value + every_row(load_f32x16(bias + column)))


@kernel(void, int64, int64, int64, int64, float32, int64, int64, int64, int64)
def rms_norm(y, y_stride, width, size, eps, weight, bias, out, out_stride):
    """`layer_norm` that takes no mean away: the padding of `y` is zero and stays so, and `y` is as it was."""
    square = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        value = load_rows(y + column, y_stride)
        square = square + value * value
    mean = fold_row_sums(square) * splat_f32_each(_ONE / np.float32(size)) + splat_f32_each(eps)
    scale = along_rows(splat_f32_each(_ONE) / sqrt_f32_each(mean))
    for column in range(0, width * 4, 64):
        value = (load_rows(y + column, y_stride) * scale) * every_row(load_f32x16(weight + column))
        store_rows(out + column, out_stride, value + every_row(load_f32x16(bias + column)))


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def quantize(y, y_stride, width, factor, codes, codes_stride, scale):
    """Codes (bytes, the CPU's offset added) of y * factor, with the scales and zeros of its rows."""
    highest, lowest = splat_rows(_ZERO), splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        value = load_rows(y + column, y_stride) * every_row(load_f32x16(factor + column))
        highest, lowest = larger(value, highest), smaller(value, lowest)
    high = fold_row_maxima(highest)
    span, least = high - fold_row_minima(lowest), splat_f32_each(_SMALLEST)
    store_f32_each(scale, zero_below_f32_each(span, least, span * splat_f32_each(_INVERSE_STEPS)))
    inverse = zero_below_f32_each(span, least, splat_f32_each(_STEPS) / span)
    magic = splat_f32_each(_HIGHEST_MAGIC) - ((high * inverse + splat_f32_each(_MAGIC)) - splat_f32_each(_MAGIC))
    store_i32_each(scale + ZERO_POINT_OFFSET, bits_of_f32_each(magic) - splat_i32_each(_MAGIC_BITS))
    inverses, magics = along_rows(inverse), along_rows(magic)
    for column in range(0, width * 4, 64):
        value = load_rows(y + column, y_stride) * every_row(load_f32x16(factor + column))
        store_code_rows(codes + (column >> 2), codes_stride, value * inverses + magics)


@kernel(void, int64, int64)
def normalize(y, width):
    """Rows divided by their Euclidean lengths, in place."""
    stride = width * 4
    square = splat_rows(_ZERO)
    for column in range(0, stride, 64):
        value = load_rows(y + column, stride)
        square = square + value * value
    length = max_f32_each(sqrt_f32_each(fold_row_sums(square)), splat_f32_each(_TINY))
    scale = along_rows(splat_f32_each(_ONE) / length)
    for column in range(0, stride, 64):
        store_rows(y + column, stride, load_rows(y + column, stride) * scale)
