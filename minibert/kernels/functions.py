"""Activations on 16 lanes. Twins: minibert.reference.functions."""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.kernel import kernel
from minibert.kernels.simd import (
    bits_of,
    f32x16,
    from_bits,
    maximum,
    minimum,
    round_to_i32,
    shift_left,
    splat_f32,
    splat_i32,
    to_f32,
)

_f32 = np.float32
_EXP2 = tuple(_f32(c) for c in numerics.EXP2_POLYNOMIAL)
_GELU = tuple(_f32(c) for c in numerics.GELU_POLYNOMIAL)
_LOWEST = _f32(numerics.EXP2_LOWEST)
_BOUND = _f32(numerics.GELU_BOUND)
_BOUND_SCALE = _f32(2.0 / numerics.GELU_BOUND**2)
_TANH_LINEAR = _f32(numerics.GELU_TANH_LINEAR)
_TANH_CUBIC = _f32(numerics.GELU_TANH_CUBIC)
_MINUS_LOG2_E = _f32(-numerics.LOG2_E)
_MAGIC = _f32(numerics.ROUND_MAGIC)
_ZERO, _HALF, _ONE, _TWO, _EIGHTY = _f32(0), _f32(0.5), _f32(1), _f32(2), _f32(80)
_EXPONENT_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@kernel(f32x16, f32x16)
def exp2(x):
    """2**x for x <= 127, flushed to 2**-126 below that."""
    x = maximum(x, splat_f32(_LOWEST))
    rounded = round_to_i32(x)
    t = x - to_f32(rounded)
    y = splat_f32(_EXP2[5])
    y = y * t + splat_f32(_EXP2[4])
    y = y * t + splat_f32(_EXP2[3])
    y = y * t + splat_f32(_EXP2[2])
    y = y * t + splat_f32(_EXP2[1])
    y = y * t + splat_f32(_EXP2[0])
    return y * from_bits(shift_left(rounded + splat_i32(_EXPONENT_BIAS), _MANTISSA_BITS))


@kernel(f32x16, f32x16)
def gelu(x):
    """Exact GELU to 1.1e-6."""
    z = minimum(maximum(x, splat_f32(-_BOUND)), splat_f32(_BOUND))
    t = (z * z) * splat_f32(_BOUND_SCALE) - splat_f32(_ONE)
    y = splat_f32(_GELU[13])
    y = y * t + splat_f32(_GELU[12])
    y = y * t + splat_f32(_GELU[11])
    y = y * t + splat_f32(_GELU[10])
    y = y * t + splat_f32(_GELU[9])
    y = y * t + splat_f32(_GELU[8])
    y = y * t + splat_f32(_GELU[7])
    y = y * t + splat_f32(_GELU[6])
    y = y * t + splat_f32(_GELU[5])
    y = y * t + splat_f32(_GELU[4])
    y = y * t + splat_f32(_GELU[3])
    y = y * t + splat_f32(_GELU[2])
    y = y * t + splat_f32(_GELU[1])
    y = y * t + splat_f32(_GELU[0])
    return x * (z * y + splat_f32(_HALF))


@kernel(f32x16, f32x16, f32x16)
def sigmoid_product(x, argument):
    """x / (1 + exp(-argument))."""
    bounded = minimum(maximum(argument, splat_f32(-_EIGHTY)), splat_f32(_EIGHTY))
    return x / (exp2(bounded * splat_f32(_MINUS_LOG2_E)) + splat_f32(_ONE))


@kernel(f32x16, f32x16)
def gelu_tanh(x):
    """The tanh approximation of GELU."""
    return sigmoid_product(x, x * ((x * x) * splat_f32(_TANH_CUBIC) + splat_f32(_TANH_LINEAR)))


@kernel(f32x16, f32x16)
def tanh(x):
    """2 sigmoid(2 x) - 1."""
    return sigmoid_product(splat_f32(_TWO), x * splat_f32(_TWO)) - splat_f32(_ONE)


@kernel(f32x16, f32x16)
def relu(x):
    """max(x, 0)."""
    return maximum(x, splat_f32(_ZERO))
