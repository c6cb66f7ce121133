"""What happens to rows (tokens) between two matrix products, four at a time. Twins: minibert.reference.functions.

Rows stay in the first-level cache from the sums of one product to the codes of the next, and share what a column needs.
Sizes are in columns, multiples of 16; strides in bytes; an address of 0 means that the part is absent. Where a row's
codes are wanted, a factor always exists (all ones if nothing was migrated).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels.functions import ROW_ACTIVATIONS
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.opcodes import ACTIVATIONS
from minibert.kernels.quads import (
    along_rows,
    every_i32_row,
    every_row,
    f32x64,
    fold_row_maxima,
    fold_row_sums,
    keep_first_lanes,
    larger_magnitude,
    load_f32x4,
    load_i32_rows,
    load_rows,
    max_f32x4,
    rows_to_f32,
    splat_f32x4,
    splat_rows,
    sqrt_f32x4,
    store_code_rows,
    store_f32x4,
    store_rows,
    zero_below_f32x4,
)
from minibert.kernels.simd import load_f32x16, load_i32x16, splat_i32

_ZERO, _ONE = np.float32(0), np.float32(1)
_LIMIT = np.float32(numerics.ACTIVATION_LIMIT)
_INVERSE_LIMIT = np.float32(1.0 / numerics.ACTIVATION_LIMIT)
_SMALLEST = np.float32(numerics.SMALLEST_ABSMAX)
_TINY = np.float32(1e-12)
_OFFSET = np.int32(current().code_offset)
#: Added to a float, leaves the stored byte of its nearest code in the lowest bits.
_CODE_MAGIC = np.float32(numerics.ROUND_MAGIC + current().code_offset)


def _make_activate(activation: Any, *, measured: bool = True) -> tuple[Any, Any, Any]:
    """Kernels that turn sums into rows: of an int8 linear (dequantized), of a float32 one, and of rows and others.

        y = activation((sums - offset * weight_sum) * scale * weight_scale + bias)
        y = activation(sums + bias)
        y = activation(y + other)

    The offset is what was added to codes when they were stored. Returned is, lane by lane, the largest |y * factor|;
    nothing but zeros unless `measured`.
    """

    def dequantize(sums, sums_stride, width, scale, weight_scale, weight_sum, bias, factor, y, y_stride):
        scales = along_rows(load_f32x4(scale))
        offset = splat_i32(_OFFSET)
        largest = splat_rows(_ZERO)
        for column in range(0, width * 4, 64):
            excess = every_i32_row(load_i32x16(weight_sum + column) * offset)
            exact = rows_to_f32(load_i32_rows(sums + column, sums_stride) - excess)
            value = (exact * scales) * every_row(load_f32x16(weight_scale + column))
            value = activation(value + every_row(load_f32x16(bias + column)))
            store_rows(y + column, y_stride, value)
            if measured:
                largest = larger_magnitude(value * every_row(load_f32x16(factor + column)), largest)
        return largest

    def add_bias(sums, sums_stride, width, bias, factor, y, y_stride):
        largest = splat_rows(_ZERO)
        for column in range(0, width * 4, 64):
            value = load_rows(sums + column, sums_stride) + every_row(load_f32x16(bias + column))
            value = activation(value)
            store_rows(y + column, y_stride, value)
            if measured:
                largest = larger_magnitude(value * every_row(load_f32x16(factor + column)), largest)
        return largest

    def add_rows(y, y_stride, other, other_stride, width, factor):
        largest = splat_rows(_ZERO)
        for column in range(0, width * 4, 64):
            value = activation(load_rows(y + column, y_stride) + load_rows(other + column, other_stride))
            store_rows(y + column, y_stride, value)
            if measured:
                largest = larger_magnitude(value * every_row(load_f32x16(factor + column)), largest)
        return largest

    return (
        kernel(f32x64, *[int64] * 10)(dequantize),
        kernel(f32x64, *[int64] * 7)(add_bias),
        kernel(f32x64, *[int64] * 6)(add_rows),
    )


def _choose(kernels: list[Any], arguments: str) -> Any:
    """A kernel that picks one of some by the number of an activation, its last argument."""
    scope = {f"rows{number}": made for number, made in enumerate(kernels)}
    lines = [f"def choose({arguments}, activation):"]
    for number in range(1, len(kernels)):
        lines += [f"    if activation == {number}:", f"        return rows{number}({arguments})"]
    lines += [f"    return rows0({arguments})"]
    exec("\n".join(lines), scope)
    return kernel(f32x64, *[int64] * (arguments.count(",") + 2))(scope["choose"])


_made = [_make_activate(ROW_ACTIVATIONS[name]) for name in ACTIVATIONS]
#: Stands for "none" where nobody asks for the largest magnitudes.
UNMEASURED = len(_made)
_made.append(_make_activate(ROW_ACTIVATIONS["none"], measured=False))
#: Rows of an int8 linear from its int32 sums; returns the largest magnitudes times the factor.
dequantize = _choose(
    [integer for integer, _, _ in _made],
    "sums, sums_stride, width, scale, weight_scale, weight_sum, bias, factor, y, y_stride",
)
#: Rows of a float32 linear from its float32 sums.
add_bias = _choose([exact for _, exact, _ in _made], "sums, sums_stride, width, bias, factor, y, y_stride")
#: Rows and what is added to them before they are activated: the residual, a low-rank part.
add_rows = _choose([added for _, _, added in _made], "y, y_stride, other, other_stride, width, factor")


@kernel(f32x64, int64, int64, int64, int64, int64)
def multiply_rows(y, y_stride, other, width, factor):
    """y *= other, in rows as far apart; returns, lane by lane, the largest |y * factor|."""
    largest = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        value = load_rows(y + column, y_stride) * load_rows(other + column, y_stride)
        store_rows(y + column, y_stride, value)
        largest = larger_magnitude(value * every_row(load_f32x16(factor + column)), largest)
    return largest


@kernel(void, int64, int64, int64)
def copy_rows(y, stride, out):
    """Out = y, both of `stride` bytes a row."""
    for column in range(0, stride, 64):
        store_rows(out + column, stride, load_rows(y + column, stride))


@kernel(f32x64, int64, int64, int64, int64)
def largest_magnitudes(y, y_stride, width, factor):
    """Lane by lane, the largest |y * factor|."""
    largest = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        largest = larger_magnitude(load_rows(y + column, y_stride) * every_row(load_f32x16(factor + column)), largest)
    return largest


@kernel(f32x64, int64, int64, int64, int64, float32, int64, int64, int64, int64, int64)
def layer_norm(y, y_stride, width, size, eps, weight, bias, factor, out, out_stride):
    """LayerNorm of the first `size` columns; columns from there to `width` are padding and stay zero.

    `y` is overwritten. Returned is, lane by lane, the largest |out * factor|.
    """
    inverse = splat_f32x4(_ONE / np.float32(size))
    total = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        total = total + load_rows(y + column, y_stride)
    mean = along_rows(fold_row_sums(total) * inverse)
    square = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        centred = keep_first_lanes(load_rows(y + column, y_stride) - mean, size - (column >> 2))
        store_rows(y + column, y_stride, centred)
        square = square + centred * centred
    variance = fold_row_sums(square) * inverse + splat_f32x4(eps)
    scale = along_rows(splat_f32x4(_ONE) / sqrt_f32x4(variance))
    largest = splat_rows(_ZERO)
    for column in range(0, width * 4, 64):
        value = (load_rows(y + column, y_stride) * scale) * every_row(load_f32x16(weight + column))
        value = value + every_row(load_f32x16(bias + column))
        store_rows(out + column, out_stride, value)
        largest = larger_magnitude(value * every_row(load_f32x16(factor + column)), largest)
    return largest


@kernel(void, int64, int64, int64, int64, f32x64, int64, int64, int64)
def quantize(y, y_stride, width, factor, largest, codes, codes_stride, scale):
    """Codes (bytes, the CPU's offset added) and float32 scales of y * factor, given its largest magnitudes."""
    absmax = fold_row_maxima(largest)
    least = splat_f32x4(_SMALLEST)
    store_f32x4(scale, zero_below_f32x4(absmax, least, absmax * splat_f32x4(_INVERSE_LIMIT)))
    inverse = along_rows(zero_below_f32x4(absmax, least, splat_f32x4(_LIMIT) / absmax))
    magic = splat_rows(_CODE_MAGIC)
    for column in range(0, width * 4, 64):
        value = load_rows(y + column, y_stride) * every_row(load_f32x16(factor + column))
        store_code_rows(codes + (column >> 2), codes_stride, value * inverse + magic)


@kernel(void, int64, int64)
def normalize(y, width):
    """Four rows divided by their Euclidean lengths, in place."""
    stride = width * 4
    square = splat_rows(_ZERO)
    for column in range(0, stride, 64):
        value = load_rows(y + column, stride)
        square = square + value * value
    length = max_f32x4(sqrt_f32x4(fold_row_sums(square)), splat_f32x4(_TINY))
    scale = along_rows(splat_f32x4(_ONE) / length)
    for column in range(0, stride, 64):
        store_rows(y + column, stride, load_rows(y + column, stride) * scale)
