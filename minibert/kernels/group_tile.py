"""The microkernel of int4 matrices whose codes are multiplied as they are (`GroupMicrokernel`): a tile one panel wide.

    totals[r] = sum over groups of multipliers of the group x (sum over its steps of row r at a step x codes at the
    step)

The inner sum takes 16 bits a lane, twice as many lanes as one of 32 bits has. Sibling of minibert.kernels.tile; panels
of groups are made by minibert.kernels.four_bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minibert.kernels.emit import I32_LANES, I64, constant, counted_loop, load, prefetch, store
from minibert.kernels.isa.base import GROUP_BYTES, GROUP_STEPS, GroupMicrokernel
from minibert.kernels.kernel import dispatch, int64, intrinsic, kernel, void

_ELEMENT = 4  # bytes of a row for one step
_LINES = 4  # cache lines of a group's codes


def _make_tile(microkernel: GroupMicrokernel, rows: int) -> Any:
    """A numba intrinsic for `rows` rows x one panel.

    Its arguments, all int64: address of the first row, bytes between rows; address of the panel of groups, number of
    its groups; address of the sums of its weights, which take away what was added to codes of rows; address of the
    first result, bytes between rows of results.
    """

    @intrinsic(void, *[int64] * 9)
    def tile(
        builder: ir.IRBuilder,
        row: ir.Value,
        row_stride: ir.Value,
        panel: ir.Value,
        groups: ir.Value,
        weight_sums: ir.Value,
        out: ir.Value,
        out_stride: ir.Value,
        ahead: ir.Value,
        ahead_stride: ir.Value,
    ) -> None:
        def strided(base: ir.Value, stride: ir.Value) -> list[ir.Value]:
            return [builder.add(base, builder.mul(stride, ir.Constant(I64, r))) for r in range(rows)]

        rows_at, totals_at = strided(row, row_stride), strided(out, out_stride)
        start = constant(I32_LANES, 0)
        if microkernel.row_offset:
            of_offset = constant(I32_LANES, -microkernel.row_offset)
            start = builder.mul(load(builder, weight_sums, I32_LANES, 4), of_offset)
        for address in totals_at:
            store(builder, start, address, 4)

        def body(number: ir.Value) -> None:
            group = builder.add(panel, builder.mul(number, ir.Constant(I64, GROUP_BYTES)))
            column = builder.mul(number, ir.Constant(I64, GROUP_STEPS * _ELEMENT))
            fetched = builder.add(ahead, builder.mul(number, ahead_stride))
            for line in range(_LINES):
                prefetch(builder, builder.add(fetched, ir.Constant(I64, 64 * line)))
            microkernel.add_group(builder, [builder.add(base, column) for base in rows_at], group, totals_at)

        counted_loop(builder, groups, body)

    return tile


def make_group_tiles(microkernel: GroupMicrokernel) -> Any:
    """Kernel with the arguments of a tile, the number of rows behind their address: tiles of nearly equal height."""
    most = microkernel.mr
    tile = dispatch({height: _make_tile(microkernel, height) for height in range(most, 0, -1)}, *[int64] * 9)

    def tiles(rows, count, stride, panel, groups, weight_sums, out, out_stride, ahead, size):
        pieces = (count + most - 1) // most
        fetched = (size + pieces * groups - 1) // (pieces * groups)
        least = count // pieces
        higher = count - least * pieces
        row, to = rows, out
        for piece in range(pieces):
            height = least
            if piece < higher:
                height += 1
            tile(row, stride, panel, groups, weight_sums, to, out_stride, ahead, fetched, height)
            row += height * stride
            to += height * out_stride
            ahead += groups * fetched

    return kernel(void, *[int64] * 10)(tiles)
