"""Activations on 16 lanes. Twins: minibert.reference.functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from minibert import numerics
from minibert.kernels.kernel import kernel
from minibert.kernels.simd import (
    F32_LANES,
    bits_of,
    constant,
    f32x16,
    from_bits,
    maximum,
    minimum,
    shift_left,
    splat_f32,
    word,
)

_f32 = np.float32
_LOWEST = _f32(numerics.EXP2_LOWEST)
_BOUND = _f32(numerics.GELU_BOUND)
_CODES_BOUND = _f32(numerics.GELU_CODES_BOUND)
_BOUND_SCALE = _f32(2.0 / numerics.GELU_BOUND**2)
_TANH_LINEAR = _f32(numerics.GELU_TANH_LINEAR)
_TANH_CUBIC = _f32(numerics.GELU_TANH_CUBIC)
_MINUS_LOG2_E = _f32(-numerics.LOG2_E)
_ZERO, _HALF, _ONE, _TWO, _EIGHTY = _f32(0), _f32(0.5), _f32(1), _f32(2), _f32(80)
_MANTISSA_BITS = np.int32(23)
_MAGIC = _f32(numerics.ROUND_MAGIC)


def _make_polynomial(coefficients: tuple[float, ...]) -> Any:
    """A polynomial by Estrin's scheme: its short chains of dependent steps keep the arithmetic units busy."""

    def evaluate(builder: ir.IRBuilder, t: ir.Value) -> ir.Value:
        terms = [constant(F32_LANES, _f32(c)) for c in coefficients]
        while len(terms) > 1:
            odd = terms[-1:] if len(terms) % 2 else []
            pairs = zip(terms[::2], terms[1::2], strict=False)
            terms = [builder.fadd(builder.fmul(high, t), low) for low, high in pairs] + odd
            t = builder.fmul(t, t)
        return terms[0]

    return word(f32x16, f32x16)(evaluate)


_exp2_polynomial = _make_polynomial(numerics.EXP2_POLYNOMIAL)
_gelu_codes_polynomial = _make_polynomial(numerics.GELU_CODES_POLYNOMIAL)
_weight_polynomial = _make_polynomial(numerics.WEIGHT_POLYNOMIAL)
_gelu_polynomial = _make_polynomial(numerics.GELU_POLYNOMIAL)


@kernel(f32x16, f32x16, f32x16)
def raise_exponent(mantissa, shifted):
    """Mantissa * 2**n, where n was added to ROUND_MAGIC: its low bits are n, the shift drops all others."""
    return from_bits(bits_of(mantissa) + shift_left(bits_of(shifted), _MANTISSA_BITS))


@kernel(f32x16, f32x16)
def exp2(x):
    """2**x for x <= 127, flushed to 2**-126 below that."""
    x = maximum(x, splat_f32(_LOWEST))
    shifted = x + splat_f32(_MAGIC)
    return raise_exponent(_exp2_polynomial(x - (shifted - splat_f32(_MAGIC))), shifted)


@kernel(f32x16, f32x16)
def softmax_weight(x):
    """2**x to 2.6e-6."""
    x = maximum(x, splat_f32(_LOWEST))
    shifted = x + splat_f32(_MAGIC)
    return raise_exponent(_weight_polynomial(x - (shifted - splat_f32(_MAGIC))), shifted)


@kernel(f32x16, f32x16)
def gelu(x):
    """Exact GELU to 1.1e-6."""
    z = minimum(maximum(x, splat_f32(-_BOUND)), splat_f32(_BOUND))
    t = (z * z) * splat_f32(_BOUND_SCALE) - splat_f32(_ONE)
    return x * (z * _gelu_polynomial(t) + splat_f32(_HALF))


@kernel(f32x16, f32x16)
def gelu_codes(x):
    """GELU for values that become int8 codes at once."""
    z = minimum(maximum(x, splat_f32(-_CODES_BOUND)), splat_f32(_CODES_BOUND))
    return x * (z * _gelu_codes_polynomial(z * z) + splat_f32(_HALF))


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
def identity(x):
    """The value itself."""
    return x


@kernel(f32x16, f32x16)
def relu(x):
    """max(x, 0)."""
    return maximum(x, splat_f32(_ZERO))
