"""ARMv8-A with NEON and no more: Cortex-A53 (Raspberry Pi 3, Zero 2) and Cortex-A72 (Raspberry Pi 4).

`smull` multiplies int8 into int16, `smlal` adds a second product to each, `sadalp` adds neighbouring int16 to int32.
Codes and weights lie in -127..127: two products, at most 2 * 127**2 = 32258, fit an int16, so nothing is ever rounded.
Instructions are scheduled for the in-order A53; on the A72, which reorders, that costs nothing.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import (
    I8,
    I16,
    I32,
    I64,
    constant,
    llvm_function,
    load,
    part,
    side_by_side,
    splat,
    splat_lane,
)
from minibert.kernels.isa.base import Float32Microkernel, GroupMicrokernel, Isa, Microkernel, Sums, Tile
from minibert.kernels.isa.extremes import NUMBERS
from minibert.kernels.isa.lookup import lookup_by
from minibert.kernels.isa.neon_inorder import add_group, add_pairs, multiply_add_four_steps, products
from minibert.kernels.isa.rounding import rounding_product_by

I8X16, I16X8, I32X4 = ir.VectorType(I8, 16), ir.VectorType(I16, 8), ir.VectorType(I32, 4)
_I16X4 = ir.VectorType(I16, 4)
_REGISTERS = 4  # of 16 bytes in a panel
_HALVES = 2


def load_registers(builder: ir.IRBuilder, address: ir.Value, type_: ir.VectorType) -> list[ir.Value]:
    """The four registers of a panel."""
    offsets = [builder.add(address, ir.Constant(I64, 16 * part)) for part in range(_REGISTERS)]
    return [load(builder, offset, type_, 4) for offset in offsets]


def _pairs_added(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    """Sums of neighbouring lanes of two registers."""
    even, odd = (ir.Constant(I32X4, list(range(first, 8, 2))) for first in range(2))
    return builder.add(builder.shuffle_vector(low, high, even), builder.shuffle_vector(low, high, odd))


class Int8(Microkernel):
    """Rows and panels of int8: a register holds 4 outputs x 4 inputs."""

    by_element = True

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return builder.bitcast(splat(builder, load(builder, address, I32), 4), I8X16)

    def four_elements(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        four = load(builder, address, I32X4, 4)
        return [builder.bitcast(splat_lane(builder, four, lane, 4), I8X16) for lane in range(4)]

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return load_registers(builder, address, I8X16)


class _WideningInt8(Int8):
    """Sums are two for each output, side by side."""

    four_steps = True
    rows_at_once = 2

    def zero(self) -> Sums:
        return [constant(I32X4, 0)] * (_REGISTERS * _HALVES)

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        multiplied = [halves for part in panel for halves in products(builder, element, part)]
        return [add_pairs(builder, old, pairs) for old, pairs in zip(sums, multiplied, strict=True)]

    def multiply_add_four_steps(
        self, builder: ir.IRBuilder, sums: list[Sums], elements: list[list[ir.Value]], panels: list[ir.Value]
    ) -> list[Sums]:
        return multiply_add_four_steps(builder, sums, elements, panels)

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return side_by_side(builder, [_pairs_added(builder, *pair) for pair in zip(sums[::2], sums[1::2], strict=True)])


class _Int16(Microkernel):
    """Rows and panels of int16: a register holds 4 lanes x 2 inputs, which `smlal` takes one after the other."""

    by_element = True

    def zero(self) -> Sums:
        return [constant(I32X4, 0)] * _REGISTERS

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        pair = load(builder, address, ir.VectorType(I16, 2), 2)
        return [splat_lane(builder, pair, lane, 4) for lane in range(2)]

    def four_elements(self, builder: ir.IRBuilder, address: ir.Value) -> list[list[ir.Value]]:
        four = load(builder, address, I16X8, 2)
        return [[splat_lane(builder, four, 2 * number + lane, 4) for lane in range(2)] for number in range(4)]

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> list[list[ir.Value]]:
        """For each of the two inputs, four registers of 4 lanes."""
        parts = load_registers(builder, address, I16X8)
        first, second = [], []
        for low, high in zip(parts[::2], parts[1::2], strict=True):
            for inputs, start in ((first, 0), (second, 1)):
                lanes = ir.Constant(ir.VectorType(I32, 8), list(range(start, 16, 2)))
                every = builder.shuffle_vector(low, high, lanes)
                inputs += [part(builder, every, first, 4) for first in (0, 4)]
        return [first, second]

    def multiply_add(
        self, builder: ir.IRBuilder, sums: Sums, element: list[ir.Value], panel: list[list[ir.Value]]
    ) -> Sums:
        multiply = llvm_function(builder, "llvm.aarch64.neon.smull.v4i32", I32X4, [_I16X4, _I16X4])
        for one, parts in zip(element, panel, strict=True):
            sums = [
                builder.add(old, builder.call(multiply, [part, one])) for old, part in zip(sums, parts, strict=True)
            ]
        return sums

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return side_by_side(builder, sums)


class _Int4(GroupMicrokernel):
    """Sums of a group are four for each output, one for each input of a step: nothing is added up until it ends.

    A byte times a code is at most 128 * 7, and four lanes of GROUP_STEPS such products are at most 28672.
    """

    row_offset = 0
    mr = 2

    def multipliers(self, builder: ir.IRBuilder, of_outputs: ir.Value) -> ir.Value:
        return builder.zext(of_outputs, ir.VectorType(I16, LANES))

    def add_group(self, builder: ir.IRBuilder, rows: list[ir.Value], panel: ir.Value, totals: list[ir.Value]) -> None:
        add_group(builder, rows, panel, totals)


ISA = Isa(
    cpu="cortex-a53",
    features="+neon,-crypto,-aes,-sha2",
    code_offset=0,
    int8=_WideningInt8(),
    int8_panels=_WideningInt8(),
    int16=_Int16(),
    float32=Float32Microkernel(fused=True, by_element=True),
    int8_tile=Tile(mr=2, nr=16),
    float32_tile=Tile(mr=6, nr=16),
    attention_mr=4,
    block_tile=Tile(mr=2, nr=16),
    rounding_product=rounding_product_by("llvm.aarch64.neon.sqrdmulh.v8i16", 8),
    lookup=lookup_by("llvm.aarch64.neon.tbl1.v16i8", 16),
    extremes=NUMBERS,
    lanes=4,
    int4=_Int4(),
)
