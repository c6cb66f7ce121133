"""ARMv8.2-A with the dot product instructions: Cortex-A76 (Raspberry Pi 5) and later.

`sdot` adds the products of four bytes to each of 4 int32 lanes, exactly, and takes the row's bytes from any lane.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.kernels.emit import I32, constant, llvm_function, load, side_by_side, splat, splat_lane
from minibert.kernels.isa.base import Dot, Float32Dot, Isa, Sums
from minibert.kernels.isa.neon import I8X16, I32X4, Words, load_panel
from minibert.kernels.isa.neon import ISA as NEON


class Bytes(Dot):
    """Rows and panels of int8: a register holds 4 outputs x 4 inputs."""

    quads = True

    def zero(self) -> Sums:
        return [constant(I32X4, 0)] * 4

    def row(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return builder.bitcast(splat(builder, load(builder, address, I32), 4), I8X16)

    def four_rows(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        four = load(builder, address, I32X4, 4)
        return [builder.bitcast(splat_lane(builder, four, lane, 4), I8X16) for lane in range(4)]

    def panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return load_panel(builder, address, I8X16)

    def add(self, builder: ir.IRBuilder, sums: Sums, row: ir.Value, panel: list[ir.Value]) -> Sums:
        dot = llvm_function(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", I32X4, [I32X4, I8X16, I8X16])
        return [builder.call(dot, [old, part, row]) for old, part in zip(sums, panel, strict=True)]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return side_by_side(builder, sums)


ISA = Isa(
    cpu="cortex-a76",
    features="+neon,+dotprod,-crypto,-aes,-sha2",
    code_offset=0,
    int8=Bytes(),
    int8_panels=Bytes(),
    int16=Words(),
    float32=Float32Dot(fused=True, quads=True),
    int8_tile=(5, 1),
    float32_tile=(5, 1),
    attention_rows=4,
    block_outputs=4,
    block_panels=1,
    rounding_product=NEON.rounding_product,
)
