"""x86-64 with AVX2: `vpmaddwd` multiplies words and adds pairs into int32; bytes are widened to words first.

`vpmaddubsw` would take bytes directly, but it saturates its 16-bit sums: answers would depend on the CPU.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.schema import LANES
from minibert.kernels.isa.words import Dot, Float32Dot, Isa, Sums
from minibert.kernels.simd import I8, I16, I32, I64, constant, llvm_function, load, splat

_I8X4, _I8X16 = ir.VectorType(I8, 4), ir.VectorType(I8, 16)
_I16X4, _I16X16 = ir.VectorType(I16, 4), ir.VectorType(I16, 16)
_I32X8 = ir.VectorType(I32, 8)


def _multiply_add(builder: ir.IRBuilder, sums: Sums, row: ir.Value, parts: list[ir.Value]) -> Sums:
    pmaddwd = llvm_function(builder, "llvm.x86.avx2.pmadd.wd", _I32X8, [_I16X16, _I16X16])
    return [builder.add(old, builder.call(pmaddwd, [row, part])) for old, part in zip(sums, parts, strict=True)]


def _side_by_side(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))))


class _Bytes(Dot):
    """Rows and panels of int8: a panel is four registers of 4 outputs x 4 inputs."""

    def zero(self) -> Sums:
        return [constant(_I32X8, 0)] * 4

    def row(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        wide = builder.sext(load(builder, address, _I8X4), _I16X4)
        return builder.bitcast(splat(builder, builder.bitcast(wide, I64), 4), _I16X16)

    def panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        offsets = [builder.add(address, ir.Constant(I64, 16 * part)) for part in range(4)]
        return [builder.sext(load(builder, offset, _I8X16), _I16X16) for offset in offsets]

    def add(self, builder: ir.IRBuilder, sums: Sums, row: ir.Value, panel: list[ir.Value]) -> Sums:
        return _multiply_add(builder, sums, row, panel)

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        # Each output has two neighbouring partial sums: even lanes + odd lanes.
        def halves(first: ir.Value, second: ir.Value) -> ir.Value:
            even = builder.shuffle_vector(first, second, ir.Constant(_I32X8, list(range(0, 16, 2))))
            odd = builder.shuffle_vector(first, second, ir.Constant(_I32X8, list(range(1, 16, 2))))
            return builder.add(even, odd)

        return _side_by_side(builder, halves(sums[0], sums[1]), halves(sums[2], sums[3]))


class _Words(Dot):
    """Rows and panels of int16: a panel is two registers of 8 lanes x 2 inputs."""

    def zero(self) -> Sums:
        return [constant(_I32X8, 0)] * 2

    def row(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return builder.bitcast(splat(builder, load(builder, address, I32), 8), _I16X16)

    def panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return [load(builder, builder.add(address, ir.Constant(I64, 32 * part)), _I16X16) for part in range(2)]

    def add(self, builder: ir.IRBuilder, sums: Sums, row: ir.Value, panel: list[ir.Value]) -> Sums:
        return _multiply_add(builder, sums, row, panel)

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return _side_by_side(builder, sums[0], sums[1])


ISA = Isa(
    name="avx2",
    cpu="haswell",
    features="",
    code_offset=0,
    int8=_Bytes(),
    int8_panels=_Bytes(),
    int16=_Words(),
    float32=Float32Dot(fused=True),
    int8_tile=(2, 1),
    float32_tile=(6, 1),
    attention_rows=2,
    block_outputs=2,
    block_panels=1,
    machine="x86_64",
)
