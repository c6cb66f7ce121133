"""ARMv8.6-A with the matrix products of bytes: servers (Graviton 3, Neoverse N2) and phones; no Raspberry Pi yet.

`smmla` multiplies 8 inputs of two rows with 8 inputs of two outputs: twice the work of `sdot`. A panel has 4 inputs of
each output side by side, so those of two steps are interleaved first, once for all rows of a tile. Dense linears alone
have rows enough for that; everything else is `sdot`'s.
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from minibert.kernels.emit import I32, I64, llvm_function, load, side_by_side
from minibert.kernels.isa.base import Sums, Tile
from minibert.kernels.isa.neon import I8X16, I32X4, load_registers
from minibert.kernels.isa.neon_dotprod import ISA as DOTPROD
from minibert.kernels.isa.neon_dotprod import Int8

_I64X2 = ir.VectorType(I64, 2)
_ROWS = 2


class _TwoRows(Int8):
    """Two rows share eight registers of sums, of two outputs each: each row keeps four of them."""

    four_steps = True
    rows_together = _ROWS

    def multiply_add_four_steps(
        self, builder: ir.IRBuilder, sums: list[Sums], elements: list[list[ir.Value]], panels: list[ir.Value]
    ) -> list[Sums]:
        """As `Microkernel` has it; the elements of a row's steps lie side by side."""
        multiply = llvm_function(builder, "llvm.aarch64.neon.smmla.v4i32.v16i8", I32X4, [I32X4, I8X16, I8X16])
        starts = range(0, len(elements), _ROWS)
        held = [sums[r] + sums[r + 1] for r in starts]
        for step in (0, 2):
            pairs = [self._two_rows(builder, elements[r][step], elements[r + 1][step]) for r in starts]
            weights = self._two_steps(builder, panels[step], panels[step + 1])
            held = [
                [builder.call(multiply, [old, pair, weight]) for old, weight in zip(of_pair, weights, strict=True)]
                for of_pair, pair in zip(held, pairs, strict=True)
            ]
        return [half for of_pair in held for half in (of_pair[:4], of_pair[4:])]

    def _two_rows(self, builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
        """Eight inputs of a row, then eight of another."""
        both = ir.Constant(_I64X2, ir.Undefined)
        for lane, address in enumerate((one, other)):
            both = builder.insert_element(both, load(builder, address, I64), ir.Constant(I32, lane))
        return builder.bitcast(both, I8X16)

    def _two_steps(self, builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> list[ir.Value]:
        """Eight inputs of two outputs in each register, from two steps of a panel."""
        weights = []
        for parts in zip(load_registers(builder, one, I32X4), load_registers(builder, other, I32X4), strict=True):
            for lanes in ((0, 4, 1, 5), (2, 6, 3, 7)):
                order = ir.Constant(ir.VectorType(I32, 4), list(lanes))
                weights.append(builder.bitcast(builder.shuffle_vector(*parts, order), I8X16))
        return weights

    def finish_rows(self, builder: ir.IRBuilder, sums: list[Sums]) -> list[ir.Value]:
        """A register has two sums of the first row, then two of the second."""
        finished = []
        for r in range(0, len(sums), _ROWS):
            held = sums[r] + sums[r + 1]
            for lanes in ((0, 1, 4, 5), (2, 3, 6, 7)):
                order = ir.Constant(ir.VectorType(I32, 4), list(lanes))
                parts = [builder.shuffle_vector(a, b, order) for a, b in zip(held[::2], held[1::2], strict=True)]
                finished.append(side_by_side(builder, parts))
        return finished


ISA = replace(
    DOTPROD,
    features=f"{DOTPROD.features},+i8mm",
    int8_tile=Tile(mr=4, nr=16),
    int8_dense=_TwoRows(),
)
