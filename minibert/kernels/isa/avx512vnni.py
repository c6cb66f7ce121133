"""x86-64 with AVX-512 and VNNI: one instruction adds the products of four bytes, or of two words, to 16 int32 lanes.

`vpdpbusd` (unsigned x signed bytes) and `vpdpwssd` (words) are exact: nothing passes through saturating sums.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import I32, constant, llvm_function, load, splat
from minibert.kernels.isa.base import Dot, Float32Dot, Isa, Sums
from minibert.kernels.isa.rounding import rounding_product_by


class _Vnni(Dot):
    def __init__(self, instruction: str, *, unsigned_panels: bool = False, lanes: int = LANES) -> None:
        self.lanes = ir.VectorType(I32, lanes)
        self.instruction = f"llvm.x86.avx512.{instruction}.{I32.width * lanes}"
        self.unsigned_panels = unsigned_panels

    def zero(self) -> Sums:
        return [constant(self.lanes, 0)]

    def row(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return splat(builder, load(builder, address, I32), self.lanes.count)

    def panel(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return load(builder, address, self.lanes)

    def add(self, builder: ir.IRBuilder, sums: Sums, row: ir.Value, panel: ir.Value) -> Sums:
        multiply_add = llvm_function(builder, self.instruction, self.lanes, [self.lanes] * 3)
        first, second = (panel, row) if self.unsigned_panels else (row, panel)
        return [builder.call(multiply_add, [sums[0], first, second])]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return sums[0]


ISA = Isa(
    cpu="cascadelake",
    features="",
    code_offset=128,
    int8=_Vnni("vpdpbusd"),
    int8_panels=_Vnni("vpdpbusd", unsigned_panels=True),
    int16=_Vnni("vpdpwssd"),
    float32=Float32Dot(fused=True),
    int8_tile=(8, 3),
    float32_tile=(6, 4),
    attention_rows=8,
    block_outputs=4,
    block_panels=2,
    int8_half=_Vnni("vpdpbusd", unsigned_panels=True, lanes=LANES // 2),
    rounding_product=rounding_product_by("llvm.x86.avx512.pmul.hr.sw.512", 32),
)
