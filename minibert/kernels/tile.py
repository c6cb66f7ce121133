"""The microkernel: a small tile of sums, kept in registers along the whole inner dimension.

    sums[r][p] = sum over steps k of row r at step k (4 bytes, broadcast) x panel p at step k (64 bytes, 16 lanes)

Linears, queries x keys and softmax weights x values are all this one product; they differ in where rows and panels
lie. The generated code is one loop with a phi for each accumulator, so that enough independent sums are in flight
to hide the latency of the multiply-add.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minibert.kernels.isa.words import Dot, Sums
from minibert.kernels.simd import I64, store

_PANEL_BYTES = 64


@cache
def make_tile(dot: Dot, rows: int, panels: int) -> Any:
    """A numba intrinsic for tiles of `rows` x `panels`.

    Its arguments, all int64: address of the first row, bytes between rows, bytes between steps of a row; address of the
    first panel, bytes between panels; number of steps (at least 1); address of the first result, bytes between its rows.
    The results of a row's panels lie side by side, 64 bytes each.
    """

    @intrinsic
    def tile(
        typingctx: Any,
        row: Any,
        row_stride: Any,
        row_step: Any,
        panel: Any,
        panel_stride: Any,
        steps: Any,
        out: Any,
        out_stride: Any,
    ) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            _emit(builder, dot, rows, panels, *arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), codegen

    return tile


def _emit(
    builder: ir.IRBuilder,
    dot: Dot,
    rows: int,
    panels: int,
    row: ir.Value,
    row_stride: ir.Value,
    row_step: ir.Value,
    panel: ir.Value,
    panel_stride: ir.Value,
    steps: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    def strided(base: ir.Value, stride: ir.Value, number: int) -> ir.Value:
        return builder.add(base, builder.mul(stride, ir.Constant(I64, number)))

    row_bases = [strided(row, row_stride, r) for r in range(rows)]
    panel_bases = [strided(panel, panel_stride, p) for p in range(panels)]
    tiles = [(r, p) for r in range(rows) for p in range(panels)]

    entry = builder.block
    loop = builder.append_basic_block("steps")
    done = builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(ir.Constant(I64, 0), entry)
    sums: dict[tuple[int, int], Sums] = {}
    for tile in tiles:
        sums[tile] = [builder.phi(start.type) for start in dot.zero()]
        for phi, start in zip(sums[tile], dot.zero(), strict=True):
            phi.add_incoming(start, entry)

    row_offset = builder.mul(step, row_step)
    panel_offset = builder.mul(step, ir.Constant(I64, _PANEL_BYTES))
    panel_values = [dot.panel(builder, builder.add(base, panel_offset)) for base in panel_bases]
    added: dict[tuple[int, int], Sums] = {}
    for r in range(rows):
        value = dot.row(builder, builder.add(row_bases[r], row_offset))
        for p in range(panels):
            added[r, p] = dot.add(builder, sums[r, p], value, panel_values[p])

    following = builder.add(step, ir.Constant(I64, 1))
    step.add_incoming(following, builder.block)
    for tile in tiles:
        for phi, value in zip(sums[tile], added[tile], strict=True):
            phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

    builder.position_at_end(done)
    for r, p in tiles:
        address = builder.add(strided(out, out_stride, r), ir.Constant(I64, p * _PANEL_BYTES))
        store(builder, dot.finish(builder, added[r, p]), address, 4)
