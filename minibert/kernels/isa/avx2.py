"""x86-64 with AVX2: int8 by `vpmaddubsw`, int16 by `vpmaddwd`, which add neighbouring products.

`vpmaddubsw` multiplies unsigned with signed bytes and saturates its 16-bit sums, which is how other runtimes come to
answers that depend on the CPU. Here it never saturates: the magnitude of a weight goes into the unsigned side and its
sign into the other, and two products of codes in -127..127 stay below 2 * 127**2 < 2**15.

Signs take two instructions for each product. In dense linears, where many panels read the same rows, it is better to
widen rows to int16 once: then products are `vpmaddwd` alone, as many as before; panels are widened as they come.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import I8, I16, I32, I64, constant, llvm_function, load, splat
from minibert.kernels.isa.base import Float32Microkernel, Isa, Microkernel, Sums, Tile
from minibert.kernels.isa.rounding import rounding_product_by

_I8X32 = ir.VectorType(I8, 32)
_I16X16 = ir.VectorType(I16, 16)
I32X8 = ir.VectorType(I32, 8)


def _add_pairs(builder: ir.IRBuilder, total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """Total + a * b, neighbouring products of int16 added."""
    pmaddwd = llvm_function(builder, "llvm.x86.avx2.pmadd.wd", I32X8, [_I16X16, _I16X16])
    return builder.add(total, builder.call(pmaddwd, [a, b]))


class Microkernel256(Microkernel):
    """A panel is two registers of 8 lanes, half of one is one; a lane is four int8 or two int16."""

    def __init__(self, lanes: ir.VectorType, registers: int = 2) -> None:
        self.lanes = lanes
        self.registers = range(registers)

    def zero(self) -> Sums:
        return [constant(I32X8, 0)] * len(self.registers)

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> Any:
        return builder.bitcast(splat(builder, load(builder, address, I32), 8), self.lanes)

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return [load(builder, builder.add(address, ir.Constant(I64, 32 * half)), self.lanes) for half in self.registers]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        if len(sums) == 1:
            return sums[0]
        low, high = sums
        return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))))


class _Int8(Microkernel256):
    """Rows and panels of int8 codes, magnitudes at most 127."""

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        magnitude = llvm_function(builder, "llvm.abs.v32i8", _I8X32, [_I8X32, ir.IntType(1)])
        pmaddubsw = llvm_function(builder, "llvm.x86.avx2.pmadd.ub.sw", _I16X16, [_I8X32, _I8X32])
        ones = constant(_I16X16, 1)
        added = []
        for total, half in zip(sums, panel, strict=True):
            unsigned = builder.call(magnitude, [half, ir.Constant(ir.IntType(1), 0)])
            # Not `vpsignb`: it needs the ports of the multiplications, these two can go elsewhere.
            negative = builder.ashr(half, constant(_I8X32, 7))
            signed = builder.sub(builder.xor(element, negative), negative)
            added.append(_add_pairs(builder, total, builder.call(pmaddubsw, [unsigned, signed]), ones))
        return added


class _WidenedInt8(Microkernel256):
    """Rows of int16, panels of int8: bytes 0 and 2 of a lane are multiplied together, then bytes 1 and 3."""

    step_bytes = 8

    def __init__(self) -> None:
        super().__init__(_I16X16)

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        pairs = [load(builder, builder.add(address, ir.Constant(I64, offset)), I32) for offset in (0, 4)]
        return [builder.bitcast(splat(builder, pair, 8), _I16X16) for pair in pairs]

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: list[ir.Value], panel: list[ir.Value]) -> Sums:
        byte = constant(_I16X16, 8)
        added = []
        for total, half in zip(sums, panel, strict=True):
            even = builder.ashr(builder.shl(half, byte), byte)
            total = _add_pairs(builder, total, element[0], even)
            added.append(_add_pairs(builder, total, element[1], builder.ashr(half, byte)))
        return added


class _Int16(Microkernel256):
    """Rows and panels of int16."""

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        return [_add_pairs(builder, total, element, half) for total, half in zip(sums, panel, strict=True)]


ISA = Isa(
    cpu="haswell",
    features="",
    code_offset=0,
    int8=_Int8(_I8X32),
    int8_panels=_Int8(_I8X32),
    int16=_Int16(_I16X16),
    float32=Float32Microkernel(fused=True),
    int8_tile=Tile(mr=4, nr=16),
    float32_tile=Tile(mr=6, nr=16),
    attention_mr=4,
    block_tile=Tile(mr=4, nr=16),
    int8_dense=_WidenedInt8(),
    int8_half=_Int8(_I8X32, registers=1),
    rounding_product=rounding_product_by("llvm.x86.avx2.pmul.hr.sw", 16),
)
