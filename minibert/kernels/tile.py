"""The microkernel: a small tile of sums, kept in registers along the whole inner dimension.

    sums[r][p] = sum over steps k of row r at step k (4 bytes, broadcast) x panel p at step k (64 bytes, 16 lanes)

Linears, queries x keys and softmax weights x values are all this one product; they differ in where rows and panels
lie. The generated code is one loop with a phi for each accumulator, so that enough independent sums are in flight
to hide the latency of the multiply-add.

Some CPUs broadcast an element of a row while they load it; others while they multiply, from any lane of a register
(`Microkernel.by_element`). There four neighbouring elements are loaded at once: four steps of a row (linears) or four
rows at one step (attention).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from llvmlite import ir

from minibert.kernels.emit import I64, opaque, prefetch, store
from minibert.kernels.isa.base import Microkernel, Sums
from minibert.kernels.kernel import int64, intrinsic, void

_PANEL_BYTES = 64
_ELEMENT = 4  # bytes of a row for one step
_FOUR = 4

#: The sums of a tile by (row, panel).
TileSums = dict[tuple[int, int], Sums]
#: Emits what one pass through the loop adds, given the number of its first step.
_Body = Callable[[ir.Value, TileSums], TileSums]


@cache
def make_tile(microkernel: Microkernel, rows: int, panels: int, neighbours: Literal["rows", "steps"] = "rows") -> Any:
    """A numba intrinsic for tiles of `rows` x `panels`.

    Its arguments, all int64: address of the first row, bytes between rows, bytes between steps of a row; address of
    the first panel, bytes between panels; number of steps (at least 1); address of the first result, bytes between its
    rows. The results of a row's panels lie side by side, 64 bytes each. With "steps" there are three more, for what is
    fetched meanwhile: its address, bytes between what belongs to two panels, and how many bytes a step goes on.

    Args:
        microkernel: how the CPU multiplies and adds.
        rows: height of the tile.
        panels: width of the tile in panels of 16 lanes.
        neighbours: what may lie side by side in memory: "steps" promises that a row's steps always do, and that their
            number is a multiple of 4; with "rows" it is seen by the stride.
    """

    @intrinsic(void, *[int64] * (11 if neighbours == "steps" else 8))
    def tile(
        builder: ir.IRBuilder,
        row: ir.Value,
        row_stride: ir.Value,
        row_step: ir.Value,
        panel: ir.Value,
        panel_stride: ir.Value,
        steps: ir.Value,
        out: ir.Value,
        out_stride: ir.Value,
        *ahead: ir.Value,
    ) -> None:
        row_bases = [_strided(builder, row, row_stride, r) for r in range(rows)]
        panel_bases = [_strided(builder, panel, panel_stride, p) for p in range(panels)]
        emitter = _Emitter(builder, microkernel, row_bases, row_step, panel_bases, ahead)
        sums = emitter.sums(steps, row_stride, neighbours)
        for p in range(panels):
            results = microkernel.finish_rows(builder, [sums[r, p] for r in range(rows)])
            for r, result in enumerate(results):
                address = builder.add(_strided(builder, out, out_stride, r), ir.Constant(I64, p * _PANEL_BYTES))
                store(builder, result, address, 4)

    return tile


def _strided(builder: ir.IRBuilder, base: ir.Value, stride: ir.Value, number: int) -> ir.Value:
    return builder.add(base, builder.mul(stride, ir.Constant(I64, number)))


class Phis:
    """A tile's sums where control flow joins: of several blocks, the one that it came from has made them.

    Attributes:
        sums: the tile's.
    """

    def __init__(self, builder: ir.IRBuilder, sums: TileSums, block: ir.Block) -> None:
        self._phis = {place: [builder.phi(value.type) for value in values] for place, values in sums.items()}
        self.sums: TileSums = {place: list(phis) for place, phis in self._phis.items()}
        self.add(sums, block)

    def add(self, sums: TileSums, block: ir.Block) -> None:
        """They may come from another block too."""
        for place, phis in self._phis.items():
            for phi, value in zip(phis, sums[place], strict=True):
                phi.add_incoming(value, block)


class _Emitter:
    """Writes the loops of one tile."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        kernel: Microkernel,
        row_bases: list[ir.Value],
        row_step: ir.Value,
        panel_bases: list[ir.Value],
        ahead: tuple[ir.Value, ...],
    ) -> None:
        self.builder = builder
        self.kernel = kernel
        self.row_bases = row_bases
        self.row_step = row_step
        self.panel_bases = panel_bases
        self.ahead = ahead
        self.rows = range(len(row_bases))
        self.panels = range(len(panel_bases))

    def sums(self, steps: ir.Value, row_stride: ir.Value, neighbours: str) -> TileSums:
        """The sums after all steps; the builder stands behind the loops."""
        if not self.kernel.by_element:
            return self._loop(steps, 1, self._one_step)
        if neighbours == "steps":
            return self._loop(steps, _FOUR, self._four_steps)
        if len(self.rows) % _FOUR:
            return self._loop(steps, 1, self._one_step)
        together = self.builder.icmp_signed("==", row_stride, ir.Constant(I64, _FOUR))
        return self._either(
            together, lambda: self._neighbouring_rows(steps), lambda: self._loop(steps, 1, self._one_step)
        )

    def _neighbouring_rows(self, steps: ir.Value) -> TileSums:
        """All steps, for as many rows at a time as the registers hold."""
        height = self.kernel.rows_at_once or len(self.rows)
        everything, sums = self.rows, {}
        for first in range(0, len(everything), height):
            self.rows = everything[first : first + height]
            sums |= self._loop(steps, 1, self._four_rows)
        self.rows = everything
        return sums

    def _loop(self, steps: ir.Value, stride: int, body: _Body) -> TileSums:
        """Sums after all steps, `stride` of them in each pass; the builder stands behind the loop."""
        builder = self.builder
        entry = builder.block
        loop = builder.append_basic_block("steps")
        done = builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(I64)
        step.add_incoming(ir.Constant(I64, 0), entry)
        phis = Phis(builder, {(r, p): self.kernel.zero() for r in self.rows for p in self.panels}, entry)
        added = body(step, phis.sums)
        following = builder.add(step, ir.Constant(I64, stride))
        step.add_incoming(following, builder.block)
        phis.add(added, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
        builder.position_at_end(done)
        return added

    def _either(self, condition: ir.Value, one: Callable[[], TileSums], other: Callable[[], TileSums]) -> TileSums:
        """The sums of the one way or of the other."""
        builder = self.builder
        blocks = [builder.append_basic_block("one"), builder.append_basic_block("other")]
        joined = builder.append_basic_block("joined")
        builder.cbranch(condition, *blocks)
        ends: list[tuple[TileSums, ir.Block]] = []
        for block, way in zip(blocks, (one, other), strict=True):
            builder.position_at_end(block)
            ends.append((way(), builder.block))
            builder.branch(joined)
        builder.position_at_end(joined)
        phis = Phis(builder, *ends[0])
        phis.add(*ends[1])
        return phis.sums

    def _panel_values(self, step: ir.Value) -> list[Any]:
        offset = self.builder.mul(step, ir.Constant(I64, _PANEL_BYTES))
        return [self.kernel.load_panel(self.builder, self.builder.add(base, offset)) for base in self.panel_bases]

    def _one_step(self, step: ir.Value, sums: TileSums) -> TileSums:
        builder = self.builder
        row_offset = builder.mul(step, self.row_step)
        panels = self._panel_values(step)
        self._fetch(step)
        added: TileSums = {}
        for r in self.rows:
            value = self.kernel.broadcast(builder, builder.add(self.row_bases[r], row_offset))
            for p in self.panels:
                added[r, p] = self.kernel.multiply_add(builder, sums[r, p], value, panels[p])
        return added

    def _fetch(self, step: ir.Value) -> None:
        """Fetch a part of what the following tiles will read, so that their streams do not start from afar."""
        if self.ahead:
            builder, (address, stride, distance) = self.builder, self.ahead
            offset = builder.mul(step, distance)
            for p in self.panels:
                prefetch(builder, builder.add(_strided(builder, address, stride, p), offset))

    def _four_rows(self, step: ir.Value, sums: TileSums) -> TileSums:
        builder = self.builder
        row_offset = builder.mul(step, self.row_step)
        firsts = dict.fromkeys(r - r % _FOUR for r in self.rows)
        loaded = {r: self.kernel.four_elements(builder, builder.add(self.row_bases[r], row_offset)) for r in firsts}
        elements = {r: loaded[r - r % _FOUR][r % _FOUR] for r in self.rows}
        return self._multiply_add(sums, elements, self._panel_values(step))

    def _four_steps(self, step: ir.Value, sums: TileSums) -> TileSums:
        builder = self.builder
        if self.kernel.four_steps:
            return self._four_steps_in_one_go(step, sums)
        row_offset = builder.mul(step, self.row_step)
        rows = [builder.add(base, row_offset) for base in self.row_bases]
        elements = [self.kernel.four_elements(builder, row) for row in rows]
        for s in range(_FOUR):
            panels = self._panel_values(builder.add(step, ir.Constant(I64, s)))
            sums = self._multiply_add(sums, {r: elements[r][s] for r in self.rows}, panels)
        return sums

    def _four_steps_in_one_go(self, step: ir.Value, sums: TileSums) -> TileSums:
        builder = self.builder
        step = opaque(builder, step)  # else LLVM counts up addresses, and between products that makes a core wait
        row_offset = builder.mul(step, self.row_step)
        rows = [builder.add(base, row_offset) for base in self.row_bases]
        elements = [[builder.add(row, ir.Constant(I64, s * _ELEMENT)) for s in range(_FOUR)] for row in rows]
        offset = builder.mul(step, ir.Constant(I64, _PANEL_BYTES))
        added: TileSums = {}
        for p, base in enumerate(self.panel_bases):
            first = builder.add(base, offset)
            panels = [builder.add(first, ir.Constant(I64, s * _PANEL_BYTES)) for s in range(_FOUR)]
            totals = self.kernel.multiply_add_four_steps(builder, [sums[r, p] for r in self.rows], elements, panels)
            added |= {(r, p): total for r, total in zip(self.rows, totals, strict=True)}
        return added

    def _multiply_add(self, sums: TileSums, elements: dict[int, Any], panels: list[Any]) -> TileSums:
        """Sums + rows x panels, of one step."""
        return {
            (r, p): self.kernel.multiply_add(self.builder, sums[r, p], elements[r], panels[p])
            for p in self.panels
            for r in self.rows
        }
