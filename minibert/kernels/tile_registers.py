"""The microkernel of CPUs whose registers hold whole tiles (`TileRegisters`): 32 rows x 2 panels at a time.

    sums[r][p] += rows r, steps k..k+16 (16 x 64 bytes)  x  panel p, steps k..k+16 (64 bytes each)

A panel has in the file the layout that such a register takes. Four tiles of sums are in flight, which hides the latency
of a multiplication, and each register of rows or of a panel is used twice for one load. Sibling of
minibert.kernels.tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from minibert.kernels.emit import I64, prefetch
from minibert.kernels.isa import current
from minibert.kernels.isa.base import TileRegisters
from minibert.kernels.kernel import int64, intrinsic, kernel, void

#: Rows of a register, and bytes of a row in it.
ROWS, ROW_BYTES = 16, 64
#: Registers of sums; the others hold rows and panels.
_SUMS = 4
_LINE = 64
#: So many tiles of rows prefetch the next panels, an equal part each, while they are multiplied with theirs; with fewer
#: rows, which are done sooner, tiles would wait for what they prefetch.
_FETCHING = 4
#: Rows of codes are unsigned where panels are signed: minibert.kernels.isa.base.
_ROWS_X_PANELS = (False, True)

_registers = current().tile_registers


@intrinsic(void)
def open_registers(builder: ir.IRBuilder) -> None:
    """Before this thread's first product; nothing where the CPU has no such registers."""
    if _registers:
        _registers.open(builder)


@intrinsic(void)
def close_registers(builder: ir.IRBuilder) -> None:
    """After its last."""
    if _registers:
        _registers.close(builder)


@intrinsic(void)
def stay_awake(builder: ir.IRBuilder) -> None:
    """A multiplication of whatever the registers hold, so that the next one of use finds their unit running.

    Left alone for a microsecond it takes 300 ns to wake up; busy all the time it takes power from everything else, a
    tenth of the clock (measured on Granite Rapids). Sums must not be held now.
    """
    if _registers:
        _registers.multiply_add(builder, 0, _SUMS, _SUMS + 1, _ROWS_X_PANELS)


def _loop(builder: ir.IRBuilder, inner: ir.Value, body: Callable[[ir.Value, ir.Value], None]) -> None:
    """`body(column, step)` for each 64 bytes of a row: where they begin in it, and where their steps do in a panel."""
    entry, loop = builder.block, builder.append_basic_block("steps")
    done = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    column = builder.phi(I64)
    column.add_incoming(ir.Constant(I64, 0), entry)
    body(column, builder.mul(column, ir.Constant(I64, ROWS)))
    following = builder.add(column, ir.Constant(I64, ROW_BYTES))
    column.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, inner), loop, done)
    builder.position_at_end(done)


def _make_tile(registers: TileRegisters, heights: int, panels: int, lines: int = 0) -> Any:
    """A numba intrinsic for `heights` times 16 rows x `panels`, each 1 or 2.

    Its arguments, all int64: address of the first row, bytes between rows; address of the first panel, bytes between
    panels; bytes of a row, a multiple of 64; address of the first sum, bytes between rows of sums; and from where on
    `lines` cache lines are fetched for each 64 bytes of a row.
    """
    sums = {(r, p): r * panels + p for r in range(heights) for p in range(panels)}
    rows, weights = range(_SUMS, _SUMS + 2), range(_SUMS + 2, _SUMS + 4)

    @intrinsic(void, *[int64] * 8)
    def tile(
        builder: ir.IRBuilder,
        row: ir.Value,
        row_stride: ir.Value,
        panel: ir.Value,
        panel_stride: ir.Value,
        inner: ir.Value,
        out: ir.Value,
        out_stride: ir.Value,
        ahead: ir.Value,
    ) -> None:
        row_bytes = ir.Constant(I64, ROW_BYTES)
        row_bases = [builder.add(row, builder.mul(row_stride, ir.Constant(I64, r * ROWS))) for r in range(heights)]
        panel_bases = [builder.add(panel, builder.mul(panel_stride, ir.Constant(I64, p))) for p in range(panels)]

        def body(column: ir.Value, step: ir.Value) -> None:
            following = builder.add(ahead, builder.mul(column, ir.Constant(I64, lines)))
            for line in range(lines):
                prefetch(builder, builder.add(following, ir.Constant(I64, line * _LINE)))
            for p, base in enumerate(panel_bases):
                registers.load(builder, weights[p], builder.add(base, step), row_bytes)
            for r, base in enumerate(row_bases):
                registers.load(builder, rows[r], builder.add(base, column), row_stride)
                for p in range(panels):
                    registers.multiply_add(builder, sums[r, p], rows[r], weights[p], _ROWS_X_PANELS)

        for register in sums.values():
            registers.zero(builder, register)
        _loop(builder, inner, body)
        for (r, p), register in sums.items():
            below = builder.add(out, builder.mul(out_stride, ir.Constant(I64, r * ROWS)))
            registers.store(builder, register, builder.add(below, ir.Constant(I64, p * ROW_BYTES)), out_stride)

    return tile


def make_two_byte_tile(registers: TileRegisters) -> Any:
    """A numba intrinsic for 16 rows of numbers of two bytes x a panel of such, none of them negative.

    Its arguments, all int64: address of the rows' low (unsigned) bytes, and of their high (signed) ones; bytes between
    rows; addresses of the panel's low and high bytes; bytes of a row, a multiple of 64; where three tiles of sums go:
    high x high, high x low + low x high, low x low.
    """
    high, middle, low, *held = range(registers.registers)

    @intrinsic(void, *[int64] * 7)
    def tile(
        builder: ir.IRBuilder,
        low_row: ir.Value,
        high_row: ir.Value,
        stride: ir.Value,
        low_panel: ir.Value,
        high_panel: ir.Value,
        inner: ir.Value,
        out: ir.Value,
    ) -> None:
        high_rows, low_rows, high_weights, low_weights = held[:4]
        row_bytes = ir.Constant(I64, ROW_BYTES)

        def body(column: ir.Value, step: ir.Value) -> None:
            registers.load(builder, high_rows, builder.add(high_row, column), stride)
            registers.load(builder, low_weights, builder.add(low_panel, step), row_bytes)
            registers.multiply_add(builder, middle, high_rows, low_weights, (True, False))
            registers.load(builder, high_weights, builder.add(high_panel, step), row_bytes)
            registers.multiply_add(builder, high, high_rows, high_weights, (True, False))
            registers.load(builder, low_rows, builder.add(low_row, column), stride)
            registers.multiply_add(builder, low, low_rows, low_weights, (False, False))
            registers.multiply_add(builder, middle, low_rows, high_weights, (False, False))

        for register in (high, middle, low):
            registers.zero(builder, register)
        _loop(builder, inner, body)
        for number, register in enumerate((high, middle, low)):
            registers.store(builder, register, builder.add(out, ir.Constant(I64, number * ROWS * ROW_BYTES)), row_bytes)

    return tile


def make_panels(registers: TileRegisters, panels: int, fetches: bool = False) -> Any:
    """Kernel: any number of rows x 1 or 2 panels; whether it fetches as many more panels, if there are rows enough.

    Its arguments are the first seven of a tile, with the number of rows behind their address, and no distance between
    panels: they lie one behind the other. Up to 15 rows more are read, and their sums written.
    """
    high, low = _make_tile(registers, 2, panels), _make_tile(registers, 1, panels)
    lines = panels * ROWS // _FETCHING
    fetching = _make_tile(registers, 2, panels, lines) if fetches else high

    def rows_by_panels(source, count, stride, inner, panel, out, out_stride):
        panel_bytes = 16 * inner
        ahead = panel + panels * panel_bytes
        end = ahead
        if fetches and count > _FETCHING * ROWS:
            end += panels * panel_bytes
        first = 0
        while count - first > ROWS:
            row, to = source + first * stride, out + first * out_stride
            if ahead < end:
                fetching(row, stride, panel, panel_bytes, inner, to, out_stride, ahead)
                ahead += lines * inner
            else:
                high(row, stride, panel, panel_bytes, inner, to, out_stride, ahead)
            first += 2 * ROWS
        if first < count:
            low(source + first * stride, stride, panel, panel_bytes, inner, out + first * out_stride, out_stride, ahead)

    return kernel(void, *[int64] * 7)(rows_by_panels)


def make_product(registers: TileRegisters) -> Any:
    """Kernel with the arguments of minibert.kernels.dense: rows x panels first..end. `inner` is a multiple of 64.

    Up to 15 rows more than `count` are read, and their sums written.
    """
    wide, narrow = make_panels(registers, 2, fetches=True), make_panels(registers, 1)

    def product(source, count, stride, inner, weight, first, end, out, out_stride):
        panel_bytes = inner * 16
        panel = first
        while panel + 2 <= end:
            wide(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)
            panel += 2
        if panel < end:
            narrow(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)

    return kernel(void, *[int64] * 9)(product)
