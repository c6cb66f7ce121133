"""Any CPU that LLVM knows: plain integer vectors, which LLVM turns into whatever there is."""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import I8, I16, I32, I32_LANES, I64, constant, load, splat
from minibert.kernels.isa.base import Float32Microkernel, Isa, Microkernel, Sums, Tile


class _Plain(Microkernel):
    """`group` integers of one lane, multiplied and added one after another."""

    def __init__(self, element: ir.IntType) -> None:
        self.element = element
        self.group = I32.width // element.width

    def zero(self) -> Sums:
        return [constant(I32_LANES, 0)]

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        size = self.element.width // I8.width
        offsets = [builder.add(address, ir.Constant(I64, i * size)) for i in range(self.group)]
        return [splat(builder, builder.sext(load(builder, offset, self.element), I32)) for offset in offsets]

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        whole = load(builder, address, ir.VectorType(self.element, LANES * self.group))
        undefined = ir.Constant(whole.type, ir.Undefined)
        every = [list(range(i, LANES * self.group, self.group)) for i in range(self.group)]
        parts = [builder.shuffle_vector(whole, undefined, ir.Constant(I32_LANES, lanes)) for lanes in every]
        return [builder.sext(part, I32_LANES) for part in parts]

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: list[ir.Value], panel: list[ir.Value]) -> Sums:
        total = sums[0]
        for one, many in zip(element, panel, strict=True):
            total = builder.add(total, builder.mul(one, many))
        return [total]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return sums[0]


ISA = Isa(
    cpu="",
    features="",
    code_offset=0,
    int8=_Plain(I8),
    int8_panels=_Plain(I8),
    int16=_Plain(I16),
    float32=Float32Microkernel(fused=False),
    int8_tile=Tile(mr=2, nr=16),
    float32_tile=Tile(mr=2, nr=16),
    attention_mr=2,
    block_tile=Tile(mr=2, nr=16),
    lanes=4,
)
