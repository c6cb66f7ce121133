"""What happens to one row (one token) between two matrix products. Twins: minibert.reference.functions.

A row stays in the first-level cache from the sums of one product to the codes of the next. Sizes are in columns,
multiples of 16; an address of 0 means that the part is absent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels import functions
from minibert.kernels.functions import identity
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.opcodes import ACTIVATIONS
from minibert.kernels.simd import (
    fold_max,
    fold_sum,
    keep_first,
    load_f32x16,
    load_i32x16,
    magnitude,
    maximum,
    splat_f32,
    splat_i32,
    sqrt,
    store_f32,
    store_f32x16,
    store_low_bytes,
    to_f32,
)

_ZERO, _ONE = np.float32(0), np.float32(1)
_LIMIT = np.float32(numerics.ACTIVATION_LIMIT)
_INVERSE_LIMIT = np.float32(1.0 / numerics.ACTIVATION_LIMIT)
_SMALLEST = np.float32(numerics.SMALLEST_ABSMAX)
_TINY = np.float32(1e-12)
_OFFSET = np.int32(current().code_offset)
#: Added to a float, leaves the stored byte of its nearest code in the lowest bits.
_CODE_MAGIC = np.float32(numerics.ROUND_MAGIC + current().code_offset)
_ACTIVATIONS = {"none": identity} | {name: getattr(functions, name) for name in ACTIVATIONS if name != "none"}


def _make_dequantize(activation: Any) -> Any:
    """Kernel: out = activation((sums - offset * weight_sum) * scale * weight_scale + bias).

    The codes were stored with an offset added, which the sums of the weights take out again.
    """

    def dequantize_row(sums, width, scale, weight_scale, weight_sum, bias, out):
        scales = splat_f32(scale)
        offset = splat_i32(_OFFSET)
        for column in range(0, width * 4, 64):
            exact = to_f32(load_i32x16(sums + column) - load_i32x16(weight_sum + column) * offset)
            y = (exact * scales) * load_f32x16(weight_scale + column) + load_f32x16(bias + column)
            store_f32x16(out + column, activation(y))

    return kernel(void, int64, int64, float32, int64, int64, int64, int64)(dequantize_row)


def _make_add_bias(activation: Any) -> Any:
    """Kernel: out = activation(sums + bias), all float32."""

    def add_bias_row(sums, width, bias, out):
        for column in range(0, width * 4, 64):
            store_f32x16(out + column, activation(load_f32x16(sums + column) + load_f32x16(bias + column)))

    return kernel(void, int64, int64, int64, int64)(add_bias_row)


def _choose(make: Any, arguments: str, types: list[Any]) -> Any:
    """A kernel that picks one of the made ones by the number of an activation, its last argument."""
    scope = {f"row{number}": make(_ACTIVATIONS[name]) for name, number in ACTIVATIONS.items()}
    lines = [f"def choose({arguments}, activation):"]
    for number in range(len(ACTIVATIONS)):
        lines += [f"    {'elif' if number else 'if'} activation == {number}:", f"        row{number}({arguments})"]
    exec("\n".join(lines), scope)
    return kernel(void, *types, int64)(scope["choose"])


#: out = activation of the int32 sums of a linear, dequantized with its bias.
dequantize = _choose(
    _make_dequantize,
    "sums, width, scale, weight_scale, weight_sum, bias, out",
    [int64, int64, float32, int64, int64, int64, int64],
)
#: out = activation of the float32 sums of a linear and its bias.
add_bias = _choose(_make_add_bias, "sums, width, bias, out", [int64] * 4)


@kernel(void, int64, int64, int64, int64)
def add_rows(a, b, width, out):
    """out = a + b."""
    for column in range(0, width * 4, 64):
        store_f32x16(out + column, load_f32x16(a + column) + load_f32x16(b + column))


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
    magic = splat_f32(_CODE_MAGIC)
    if factor != 0:
        for column in range(0, width * 4, 64):
            x = load_f32x16(row + column) * load_f32x16(factor + column)
            store_low_bytes(codes + (column >> 2), x * inverses + magic)
    else:
        for column in range(0, width * 4, 64):
            store_low_bytes(codes + (column >> 2), load_f32x16(row + column) * inverses + magic)


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
