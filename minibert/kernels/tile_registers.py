"""The microkernel of CPUs whose registers hold whole tiles (`TileRegisters`): 32 rows x 2 panels at a time.

    sums[r][p] += rows r, steps k..k+16 (16 x 64 bytes)  x  panel p, steps k..k+16 (64 bytes each)

A panel as it lies in the file is what such a register wants. Four sums are in flight, which hides how long one
multiplication takes; each register of rows and each of a panel is used twice for one load. Sibling of
minibert.kernels.tile.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minibert.kernels.isa import current
from minibert.kernels.isa.words import TileRegisters
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import I64, word

#: Rows of a register, and bytes of a row in it.
ROWS, ROW_BYTES = 16, 64
#: Bytes of a panel in a register: 16 steps.
_PANEL_BYTES = 1024
_SUMS = 4

_registers = current().tile_registers


@word(types.void)
def open_registers(builder: ir.IRBuilder) -> None:
    """Before this thread's first product; nothing where the CPU has no such registers."""
    if _registers:
        _registers.open(builder)


@word(types.void)
def close_registers(builder: ir.IRBuilder) -> None:
    """After its last."""
    if _registers:
        _registers.close(builder)


def _make_tile(registers: TileRegisters, heights: int, panels: int) -> Any:
    """A numba intrinsic for `heights` times 16 rows x `panels`, each 1 or 2.

    Its arguments, all int64: address of the first row, bytes between rows; address of the first panel, bytes between
    panels; bytes of a row, a multiple of 64; address of the first sum, bytes between rows of sums.
    """
    sums = {(r, p): 2 * r + p for r in range(heights) for p in range(panels)}
    rows, weights = (_SUMS, _SUMS + 1), (_SUMS + 2, _SUMS + 3)

    @intrinsic
    def tile(
        typingctx: Any, row: Any, row_stride: Any, panel: Any, panel_stride: Any, inner: Any, out: Any, out_stride: Any
    ) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            row, row_stride, panel, panel_stride, inner, out, out_stride = arguments
            sixteen = ir.Constant(I64, ROWS)
            row_bytes = ir.Constant(I64, ROW_BYTES)
            row_bases = [row, builder.add(row, builder.mul(row_stride, sixteen))][:heights]
            panel_bases = [panel, builder.add(panel, panel_stride)][:panels]
            entry, loop = builder.block, builder.append_basic_block("steps")
            done = builder.append_basic_block("done")
            for register in sums.values():
                registers.zero(builder, register)
            builder.branch(loop)

            builder.position_at_end(loop)
            column = builder.phi(I64)
            column.add_incoming(ir.Constant(I64, 0), entry)
            step = builder.mul(column, sixteen)
            for p, base in enumerate(panel_bases):
                registers.load(builder, weights[p], builder.add(base, step), row_bytes)
            for r, base in enumerate(row_bases):
                registers.load(builder, rows[r], builder.add(base, column), row_stride)
                for p in range(panels):
                    registers.add(builder, sums[r, p], rows[r], weights[p])
            following = builder.add(column, row_bytes)
            column.add_incoming(following, builder.block)
            builder.cbranch(builder.icmp_signed("<", following, inner), loop, done)

            builder.position_at_end(done)
            for (r, p), register in sums.items():
                below = builder.add(out, builder.mul(out_stride, ir.Constant(I64, r * ROWS)))
                registers.store(builder, register, builder.add(below, ir.Constant(I64, p * ROW_BYTES)), out_stride)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), codegen

    return tile


def _make_panels(registers: TileRegisters, panels: int) -> Any:
    """Kernel: any number of rows x `panels`."""
    high, low = _make_tile(registers, 2, panels), _make_tile(registers, 1, panels)

    def rows_by_panels(source, count, stride, inner, panel, out, out_stride):
        first = 0
        while count - first > ROWS:
            high(source + first * stride, stride, panel, 16 * inner, inner, out + first * out_stride, out_stride)
            first += 2 * ROWS
        if first < count:
            low(source + first * stride, stride, panel, 16 * inner, inner, out + first * out_stride, out_stride)

    return kernel(void, *[int64] * 7)(rows_by_panels)


def make_product(registers: TileRegisters) -> Any:
    """Kernel with the arguments of minibert.kernels.dense: rows x panels first..end. `inner` is a multiple of 64.

    Up to 15 rows more than `count` are read, and their sums written.
    """
    wide, narrow = _make_panels(registers, 2), _make_panels(registers, 1)

    def product(source, count, stride, inner, weight, first, end, out, out_stride):
        panel_bytes = inner * 16
        panel = first
        while panel + 2 <= end:
            wide(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)
            panel += 2
        if panel < end:
            narrow(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)

    return kernel(void, *[int64] * 9)(product)
