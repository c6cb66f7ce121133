"""ARMv8.2-A with the dot product instructions: Cortex-A76 (Raspberry Pi 5) and later.

`sdot` adds the products of four bytes to each of 4 int32 lanes, exactly, and takes the row's bytes from any lane.
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from minibert.kernels.emit import constant, llvm_function, side_by_side
from minibert.kernels.isa import neon
from minibert.kernels.isa.base import Sums, Tile
from minibert.kernels.isa.neon import I8X16, I32X4


class Int8(neon.Int8):
    """One instruction for each register of a panel."""

    def zero(self) -> Sums:
        return [constant(I32X4, 0)] * 4

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        dot = llvm_function(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", I32X4, [I32X4, I8X16, I8X16])
        return [builder.call(dot, [old, part, element]) for old, part in zip(sums, panel, strict=True)]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return side_by_side(builder, sums)


ISA = replace(
    neon.ISA,
    cpu="cortex-a76",
    features="+neon,+dotprod,-crypto,-aes,-sha2",
    int8=Int8(),
    int8_panels=Int8(),
    int16=None,
    int8_tile=Tile(mr=5, nr=16),
    float32_tile=Tile(mr=5, nr=16),
    block_tile=Tile(mr=4, nr=16),
    int4=None,
)
