"""The larger and the smaller of two floats, of which the second is a number: what a maximum over many is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from llvmlite import ir

from minibert.kernels.emit import llvm_function, select_max, select_min

_Choice: TypeAlias = Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]


class Extremes(NamedTuple):
    """How a CPU finds them, lane by lane; the second where the first is not a number.

    Attributes:
        larger: of two vectors of float32; of two zeros, either.
        smaller: likewise.
    """

    larger: _Choice
    smaller: _Choice


#: By a comparison and a selection, for any CPU; x86-64 has the two as one instruction.
SELECTED = Extremes(select_max, select_min)


def _by(operation: str) -> _Choice:
    def choose(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        name = f"llvm.{operation}.v{a.type.count}f32"
        return builder.call(llvm_function(builder, name, a.type, [a.type, a.type]), [a, b])

    return choose


#: By instructions that prefer a number to what is none.
NUMBERS = Extremes(_by("maxnum"), _by("minnum"))
