"""Rounded products of int16 as fractions of 2**15: CPUs have them for audio, and the softmax needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from llvmlite import ir

from minibert.kernels.emit import I16, I32, constant, llvm_function, part, side_by_side

RoundingProduct: TypeAlias = Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]


def plain_rounding_product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """a * b / 2**15, half rounded up: for any CPU."""
    wide = ir.VectorType(I32, a.type.count)
    exact = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    rounded = builder.add(exact, constant(wide, 1 << 14))
    return builder.trunc(builder.ashr(rounded, constant(wide, 15)), a.type)


def rounding_product_by(instruction: str, lanes: int) -> RoundingProduct:
    """The same by one instruction for each `lanes` int16, by LLVM's name of it."""
    register = ir.VectorType(I16, lanes)

    def product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        function = llvm_function(builder, instruction, register, [register, register])
        pairs = [[part(builder, x, first, lanes) for x in (a, b)] for first in range(0, a.type.count, lanes)]
        return side_by_side(builder, [builder.call(function, pair) for pair in pairs])

    return product
