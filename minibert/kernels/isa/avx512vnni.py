"""x86-64 with AVX-512 and VNNI: one instruction adds the products of four int8, or of two int16, to 16 int32.

`vpdpbusd` (unsigned x signed bytes) and `vpdpwssd` (int16) are exact: nothing passes through saturating sums.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import I32, constant, llvm_function, load, splat
from minibert.kernels.isa.base import Float32Microkernel, Isa, Microkernel, Sums, Tile
from minibert.kernels.isa.lookup import lookup_by
from minibert.kernels.isa.rounding import rounding_product_by


class _Vnni(Microkernel):
    def __init__(self, instruction: str, *, unsigned_panels: bool = False, lanes: int = LANES) -> None:
        self.lanes = ir.VectorType(I32, lanes)
        self.instruction = f"llvm.x86.avx512.{instruction}.{I32.width * lanes}"
        self.unsigned_panels = unsigned_panels

    def zero(self) -> Sums:
        return [constant(self.lanes, 0)]

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return splat(builder, load(builder, address, I32), self.lanes.count)

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return load(builder, address, self.lanes)

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: ir.Value) -> Sums:
        multiply_add = llvm_function(builder, self.instruction, self.lanes, [self.lanes] * 3)
        first, second = (panel, element) if self.unsigned_panels else (element, panel)
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
    float32=Float32Microkernel(fused=True),
    int8_tile=Tile(mr=8, nr=48),
    float32_tile=Tile(mr=6, nr=64),
    attention_mr=8,
    block_tile=Tile(mr=4, nr=32),
    int8_half=_Vnni("vpdpbusd", unsigned_panels=True, lanes=LANES // 2),
    rounding_product=rounding_product_by("llvm.x86.avx512.pmul.hr.sw.512", 32),
    lookup=lookup_by("llvm.x86.avx512.pshuf.b.512", 64),
)
