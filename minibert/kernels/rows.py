"""What happens to one row (one token) between two matrix products. Twins: minibert.reference.functions.

A row stays in the first-level cache from the sums of one product to the codes of the next. Sizes are in columns,
multiples of 16; an address of 0 means that the part is absent.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.functions import gelu, gelu_tanh, relu, tanh
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.simd import (
    fold_max,
    fold_sum,
    keep_first,
    load_f32x16,
    load_i32x16,
    magnitude,
    maximum,
    round_to_i32,
    splat_f32,
    splat_i32,
    sqrt,
    store_f32,
    store_f32x16,
    store_i8x16,
    to_f32,
)

NONE, GELU, GELU_TANH, RELU, TANH = range(5)

_ZERO, _ONE = np.float32(0), np.float32(1)
_LIMIT = np.float32(numerics.ACTIVATION_LIMIT)
_INVERSE_LIMIT = np.float32(1.0 / numerics.ACTIVATION_LIMIT)
_SMALLEST = np.float32(numerics.SMALLEST_ABSMAX)
_TINY = np.float32(1e-12)
_OFFSET = np.int32(current().code_offset)


@kernel(void, int64, int64, float32, int64, int64, int64, int64)
def dequantize(sums, width, scale, weight_scale, weight_sum, bias, out):
    """out = (sums - offset * weight_sum) * scale * weight_scale + bias, for codes stored with an offset added."""
    scales = splat_f32(scale)
    for column in range(0, width * 4, 64):
        exact = load_i32x16(sums + column) - load_i32x16(weight_sum + column) * splat_i32(_OFFSET)
        y = (to_f32(exact) * scales) * load_f32x16(weight_scale + column) + load_f32x16(bias + column)
        store_f32x16(out + column, y)


@kernel(void, int64, int64, int64, int64)
def add_rows(a, b, width, out):
    """out = a + b."""
    for column in range(0, width * 4, 64):
        store_f32x16(out + column, load_f32x16(a + column) + load_f32x16(b + column))


@kernel(void, int64, int64, int64)
def activate(row, width, activation):
    """The activation of a float32 row, in place."""
    if activation == GELU:
        for column in range(0, width * 4, 64):
            store_f32x16(row + column, gelu(load_f32x16(row + column)))
    elif activation == GELU_TANH:
        for column in range(0, width * 4, 64):
            store_f32x16(row + column, gelu_tanh(load_f32x16(row + column)))
    elif activation == RELU:
        for column in range(0, width * 4, 64):
            store_f32x16(row + column, relu(load_f32x16(row + column)))
    elif activation == TANH:
        for column in range(0, width * 4, 64):
            store_f32x16(row + column, tanh(load_f32x16(row + column)))


@kernel(void, int64, int64, int64, float32, int64, int64, int64)
def layer_norm(row, width, size, eps, weight, bias, out):
    """LayerNorm of the first `size` columns; columns from there to `width` are padding and stay zero."""
    inverse = _ONE / np.float32(size)
    total = splat_f32(_ZERO)
    for column in range(0, width * 4, 64):
        total = total + load_f32x16(row + column)
    mean = splat_f32(fold_sum(total) * inverse)
    square = splat_f32(_ZERO)
    for column in range(0, width * 4, 64):
        centred = keep_first(load_f32x16(row + column) - mean, size - (column >> 2))
        store_f32x16(row + column, centred)
        square = square + centred * centred
    scale = splat_f32(_ONE / sqrt(fold_sum(square) * inverse + eps))
    for column in range(0, width * 4, 64):
        y = (load_f32x16(row + column) * scale) * load_f32x16(weight + column) + load_f32x16(bias + column)
        store_f32x16(out + column, y)


@kernel(void, int64, int64, int64, int64, int64)
def quantize(row, width, factor, codes, scale):
    """Codes (bytes, the CPU's offset added) and the float32 scale of row * factor."""
    largest = splat_f32(_ZERO)
    if factor != 0:
        for column in range(0, width * 4, 64):
            largest = maximum(magnitude(load_f32x16(row + column) * load_f32x16(factor + column)), largest)
    else:
        for column in range(0, width * 4, 64):
            largest = maximum(magnitude(load_f32x16(row + column)), largest)
    absmax = fold_max(largest)
    inverse = _ZERO
    stored = _ZERO
    if absmax >= _SMALLEST:
        inverse = _LIMIT / absmax
        stored = absmax * _INVERSE_LIMIT
    store_f32(scale, stored)
    inverses = splat_f32(inverse)
    offset = splat_i32(_OFFSET)
    if factor != 0:
        for column in range(0, width * 4, 64):
            x = load_f32x16(row + column) * load_f32x16(factor + column)
            store_i8x16(codes + (column >> 2), round_to_i32(x * inverses) + offset)
    else:
        for column in range(0, width * 4, 64):
            store_i8x16(codes + (column >> 2), round_to_i32(load_f32x16(row + column) * inverses) + offset)


@kernel(void, int64, int64)
def normalize(row, width):
    """The row divided by its Euclidean length, in place."""
    square = splat_f32(_ZERO)
    for column in range(0, width * 4, 64):
        x = load_f32x16(row + column)
        square = square + x * x
    length = sqrt(fold_sum(square))
    scale = splat_f32(_ONE / max(length, _TINY))
    for column in range(0, width * 4, 64):
        store_f32x16(row + column, load_f32x16(row + column) * scale)
