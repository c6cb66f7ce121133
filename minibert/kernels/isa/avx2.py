"""x86-64 with AVX2: int8 by `vpmaddubsw`, int16 by `vpmaddwd`, which add neighbouring products.

`vpmaddubsw` multiplies unsigned with signed bytes and saturates its 16-bit sums, which is how other runtimes come to
answers that depend on the CPU. Here it never saturates: the magnitude of a weight goes into the unsigned side and its
sign into the other, and two products of codes in -127..127 stay below 2 * 127**2 < 2**15.

Signs take two instructions for each product. In dense linears, where many panels read the same rows and many rows the
same panel, it is better to widen both to int16 once: then products are `vpmaddwd` alone, as many as before.

Codes of four bits need none of that: two products of a byte in 0..255 and a code in -7..7 are at most 3570, so
`vpmaddubsw` never saturates, and eight of its sums fit an int16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minibert.kernels.emit import (
    I8,
    I16,
    I32,
    I32_LANES,
    I64,
    CarryingLoop,
    constant,
    llvm_function,
    load,
    side_by_side,
    splat,
    store,
)
from minibert.kernels.isa.base import GROUP_STEPS, Float32Microkernel, GroupMicrokernel, Isa, Microkernel, Sums, Tile
from minibert.kernels.isa.lookup import lookup_by
from minibert.kernels.isa.rounding import rounding_product_by

_I8X32 = ir.VectorType(I8, 32)
_I16X16 = ir.VectorType(I16, 16)
I32X8 = ir.VectorType(I32, 8)


def _add_pairs(builder: ir.IRBuilder, total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """Total + a * b, neighbouring products of int16 added."""
    pmaddwd = llvm_function(builder, "llvm.x86.avx2.pmadd.wd", I32X8, [_I16X16, _I16X16])
    return builder.add(total, builder.call(pmaddwd, [a, b]))


def _halves(builder: ir.IRBuilder, address: ir.Value, type_: ir.VectorType) -> list[ir.Value]:
    """The two registers of a panel."""
    return [load(builder, builder.add(address, ir.Constant(I64, offset)), type_) for offset in (0, 32)]


class Microkernel256(Microkernel):
    """A panel is two registers of 8 lanes, half of one is one; a lane is four int8 or two int16."""

    def __init__(self, lanes: ir.VectorType, registers: int = 2) -> None:
        self.lanes = lanes
        self.registers = registers

    def zero(self) -> Sums:
        return [constant(I32X8, 0)] * self.registers

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> Any:
        return builder.bitcast(splat(builder, load(builder, address, I32), 8), self.lanes)

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return _halves(builder, address, self.lanes)[: self.registers]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return side_by_side(builder, sums)


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


class _Int16(Microkernel256):
    """Rows and panels of int16."""

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        return [_add_pairs(builder, total, element, half) for total, half in zip(sums, panel, strict=True)]


class _Int4(GroupMicrokernel):
    """Rows of unsigned bytes; sums of a group are two for each output, side by side, as many as `vpmaddwd` takes."""

    row_offset = 128
    mr = 6

    def multipliers(self, builder: ir.IRBuilder, of_outputs: ir.Value) -> ir.Value:
        return builder.mul(builder.zext(of_outputs, I32_LANES), constant(I32_LANES, 0x00010001))

    def add_group(self, builder: ir.IRBuilder, rows: list[ir.Value], panel: ir.Value, totals: list[ir.Value]) -> None:
        pmaddubsw = llvm_function(builder, "llvm.x86.avx2.pmadd.ub.sw", _I16X16, [_I8X32, _I8X32])
        loop = CarryingLoop(builder, ir.Constant(I64, GROUP_STEPS), [[constant(_I16X16, 0)] * 2] * len(rows))
        codes = _halves(builder, builder.add(panel, builder.mul(loop.number, ir.Constant(I64, 64))), _I8X32)
        column = builder.mul(loop.number, ir.Constant(I64, 4))
        added = []
        for row, sums in zip(rows, loop.carried, strict=True):
            element = builder.bitcast(splat(builder, load(builder, builder.add(row, column), I32), 8), _I8X32)
            products = [builder.call(pmaddubsw, [element, half]) for half in codes]
            added.append([builder.add(old, product) for old, product in zip(sums, products, strict=True)])
        loop.close(added)
        multipliers = _halves(builder, builder.add(panel, ir.Constant(I64, 64 * GROUP_STEPS)), _I16X16)
        for address, sums in zip(totals, added, strict=True):
            for half in range(2):
                place = builder.add(address, ir.Constant(I64, 32 * half))
                total = _add_pairs(builder, load(builder, place, I32X8), sums[half], multipliers[half])
                store(builder, total, place)


ISA = Isa(
    cpu="haswell",
    features="",
    code_offset=0,
    int8=_Int8(_I8X32),
    int8_panels=_Int8(_I8X32),
    int16=_Int16(_I16X16),
    float32=Float32Microkernel(fused=True),
    int8_tile=Tile(mr=6, nr=16),
    float32_tile=Tile(mr=6, nr=16),
    attention_mr=4,
    block_tile=Tile(mr=4, nr=16),
    int8_half=_Int8(_I8X32, registers=1),
    rounding_product=rounding_product_by("llvm.x86.avx2.pmul.hr.sw", 16),
    lookup=lookup_by("llvm.x86.avx2.pshuf.b", 32),
    widens=True,
    int4=_Int4(),
    lanes=8,
)
