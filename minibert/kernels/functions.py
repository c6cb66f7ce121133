"""Activations and exponentials, on vectors of any width. Twins: minibert.reference.functions.

They are written on `Lanes`, a value of the code that is being generated: `x * y` emits a multiplication. `function`
makes of them what kernels call, for one vector type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from minibert import numerics
from minibert.kernels.emit import F32, I16, I32, constant, select_max
from minibert.kernels.isa import current
from minibert.kernels.kernel import intrinsic
from minibert.kernels.row_vectors import f32_rows
from minibert.kernels.simd import VectorType, f32x16, i32x16


class Lanes:
    """A float32 vector in the code being generated. Plain numbers are constants in all lanes."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _other(self, other: Lanes | float) -> ir.Value:
        if isinstance(other, Lanes):
            return other.value
        return constant(self.value.type, float(np.float32(other)))

    def __add__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, self._other(other)))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fdiv(self.value, self._other(other)))

    def at_least(self, bound: float) -> Lanes:
        """The larger of each lane and a bound; the bound where a lane is not a number."""
        return Lanes(self.builder, select_max(self.builder, self.value, self._other(bound)))

    def at_most(self, bound: float) -> Lanes:
        """The smaller of each lane and a bound; the bound where a lane is not a number."""
        other = self._other(bound)
        below = self.builder.fcmp_ordered("<", self.value, other)
        return Lanes(self.builder, self.builder.select(below, self.value, other))

    def like(self, number: float) -> Lanes:
        """A constant vector of the same width."""
        return Lanes(self.builder, self._other(number))

    def raise_exponent(self, shifted: Lanes) -> Lanes:
        """Self * 2**n, where n was added to ROUND_MAGIC: its low bits are n, and the shift drops all others."""
        integers = ir.VectorType(I32, self.value.type.count)
        bits = self.builder.bitcast(shifted.value, integers)
        power = self.builder.shl(bits, constant(integers, _MANTISSA_BITS))
        raised = self.builder.add(self.builder.bitcast(self.value, integers), power)
        return Lanes(self.builder, self.builder.bitcast(raised, ir.VectorType(F32, integers.count)))


_MANTISSA_BITS = 23


def polynomial(t: Lanes, coefficients: tuple[float, ...]) -> Lanes:
    """Estrin's scheme, lowest power first: its short chains of dependent steps keep the arithmetic units busy."""
    terms = [t.like(c) for c in coefficients]
    while len(terms) > 1:
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [high * t + low for low, high in zip(terms[::2], terms[1::2], strict=False)] + odd
        t = t * t
    return terms[0]


def _exp2(x: Lanes) -> Lanes:
    x = x.at_least(numerics.EXP2_LOWEST)
    shifted = x + numerics.ROUND_MAGIC
    return polynomial(x - (shifted - numerics.ROUND_MAGIC), numerics.EXP2_POLYNOMIAL).raise_exponent(shifted)


def _gelu(x: Lanes) -> Lanes:
    z = x.at_least(-numerics.GELU_BOUND).at_most(numerics.GELU_BOUND)
    t = (z * z) * (2.0 / numerics.GELU_BOUND**2) - 1.0
    return x * (z * polynomial(t, numerics.GELU_POLYNOMIAL) + 0.5)


def _gelu_codes(x: Lanes) -> Lanes:
    z = x.at_least(-numerics.GELU_CODES_BOUND).at_most(numerics.GELU_CODES_BOUND)
    return x * (z * polynomial(z * z, numerics.GELU_CODES_POLYNOMIAL) + 0.5)


def _sigmoid_product(x: Lanes, argument: Lanes) -> Lanes:
    """x / (1 + exp(-argument))."""
    bounded = argument.at_least(-80.0).at_most(80.0)
    return x / (_exp2(bounded * -numerics.LOG2_E) + 1.0)


def _gelu_tanh(x: Lanes) -> Lanes:
    return _sigmoid_product(x, x * ((x * x) * numerics.GELU_TANH_CUBIC + numerics.GELU_TANH_LINEAR))


def _tanh(x: Lanes) -> Lanes:
    return _sigmoid_product(x.like(2.0), x * 2.0) - 1.0


def _silu(x: Lanes) -> Lanes:
    return _sigmoid_product(x, x)


def _relu(x: Lanes) -> Lanes:
    return x.at_least(0.0)


def _identity(x: Lanes) -> Lanes:
    return x


def function(vector: VectorType, body: Callable[[Lanes], Lanes]) -> Any:
    """What kernels call: `body` on vectors of one type."""

    def evaluate(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        return body(Lanes(builder, value)).value

    return intrinsic(vector, vector)(evaluate)


#: 2**x for 16 numbers <= 127, flushed to 2**-126 below that.
exp2 = function(f32x16, _exp2)


@intrinsic(i32x16, i32x16)
def softmax_weights(builder: ir.IRBuilder, distances: ir.Value) -> ir.Value:
    """Two softmax weights in each lane, of two int16 distances in 0..DISTANCE_LIMIT."""
    int16 = ir.VectorType(I16, 2 * distances.type.count)
    product = current().rounding_product
    c0, c1, c2, c3 = (constant(int16, c) for c in numerics.WEIGHT_POLYNOMIAL)
    distance = builder.bitcast(distances, int16)
    t = builder.shl(distance, constant(int16, 15 - numerics.DISTANCE_BITS))
    t = builder.and_(t, constant(int16, 0x7FFF))
    inner = builder.sub(c1, product(builder, t, builder.sub(c2, product(builder, t, c3))))
    mantissa = builder.sub(c0, product(builder, t, inner))
    halvings = builder.lshr(distance, constant(int16, numerics.DISTANCE_BITS))
    weights = product(builder, mantissa, builder.lshr(constant(int16, 2 << numerics.WEIGHT_BITS), halvings))
    return builder.bitcast(weights, distances.type)


#: The activations of rows, by name.
ROW_ACTIVATIONS = {
    "none": function(f32_rows, _identity),
    "gelu": function(f32_rows, _gelu),
    "gelu_codes": function(f32_rows, _gelu_codes),
    "gelu_tanh": function(f32_rows, _gelu_tanh),
    "relu": function(f32_rows, _relu),
    "silu": function(f32_rows, _silu),
    "tanh": function(f32_rows, _tanh),
}
