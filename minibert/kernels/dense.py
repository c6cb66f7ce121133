"""Dense matrix products: a block of rows x a range of panels, in tiles. Twin: minibert.reference.linear."""

from __future__ import annotations

from typing import Any

from minibert.format.constants import ALIGNMENT, LANES
from minibert.kernels.isa import current
from minibert.kernels.isa.base import Microkernel, Tile
from minibert.kernels.kernel import dispatch, int64, kernel, void
from minibert.kernels.simd import widen_codes
from minibert.kernels.tile import make_tile
from minibert.kernels.tile_registers import ROW_BYTES, make_product

_PANEL_STEP = 64


def _make_tiles(microkernel: Microkernel, most_rows: int, panels: int) -> Any:
    """A kernel that multiplies any number of rows with `panels` panels, in tiles of nearly equal height.

    Where rows are multiplied together, so many more may be read and written than there are.
    """
    together, step_bytes = microkernel.rows_together, microkernel.step_bytes
    heights = range(most_rows, 0, -together)
    tile = dispatch({height: make_tile(microkernel, height, panels, "steps") for height in heights}, *[int64] * 8)

    def tiles(rows, count, stride, inner, panel, out, out_stride):
        pieces = (count + most_rows - 1) // most_rows
        steps = inner // 4
        panel_bytes = steps * _PANEL_STEP
        for piece in range(pieces):
            first = (count * piece // pieces + together - 1) & -together
            height = ((count * (piece + 1) // pieces + together - 1) & -together) - first
            row, to = rows + first * stride, out + first * out_stride
            tile(row, stride, step_bytes, panel, panel_bytes, steps, to, out_stride, height)

    return kernel(void, *[int64] * 7)(tiles)


def _make_product(microkernel: Microkernel, largest: Tile) -> Any:
    """Kernel: `count` rows `stride` bytes apart x panels first..end, results in rows `out_stride` bytes apart.

    Wide tiles take as many panels as the registers hold, the last panels go one at a time. `inner` is the length of
    a stored row in bytes, a multiple of 16; `weight` the address of panel 0 and `out` that of its first result.
    """
    rows, panels = largest.mr, largest.panels
    wide, narrow = _make_tiles(microkernel, rows, panels), _make_tiles(microkernel, rows, 1)

    def product(source, count, stride, inner, weight, first, end, out, out_stride):
        panel_bytes = inner * 16
        panel = first
        while panel + panels <= end:
            wide(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)
            panel += panels
        while panel < end:
            narrow(source, count, stride, inner, weight + panel * panel_bytes, out + panel * 64, out_stride)
            panel += 1

    return kernel(void, *[int64] * 9)(product)


_isa = current()
_int8 = _isa.int8_dense or _isa.int8
_int8_product = _make_product(_int8, _isa.int8_tile)
_WIDENS = _int8.step_bytes > _isa.int8.step_bytes
_HAS_TILE_REGISTERS = _isa.tile_registers is not None
_tile_product = make_product(_isa.tile_registers) if _isa.tile_registers else _int8_product


@kernel(void, int64, int64, int64, int64, int64, int64)
def widen_rows(source, count, stride, inner, out, out_stride):
    """Rows of int8 become rows of int16, in the order that `widen_codes` gives them."""
    for row in range(count):
        for column in range(0, inner, LANES):
            widen_codes(source + row * stride + column, out + row * out_stride + 2 * column)


@kernel(void, *[int64] * 10)
def int8_product(source, count, stride, inner, weight, first, end, out, out_stride, scratch):
    """Codes (bytes, the CPU's offset added) x int8 weights -> int32 sums.

    `scratch` has room for the rows as int16: 2 inner + 64 bytes each.
    """
    if _HAS_TILE_REGISTERS and inner % ROW_BYTES == 0:
        _tile_product(source, count, stride, inner, weight, first, end, out, out_stride)
    elif _WIDENS:
        widened = 2 * inner + ALIGNMENT  # rows a power of two apart would fall into the same few sets of the cache
        widen_rows(source, count, stride, inner, scratch, widened)
        _int8_product(scratch, count, widened, inner, weight, first, end, out, out_stride)
    else:
        _int8_product(source, count, stride, inner, weight, first, end, out, out_stride)


#: float32 rows x float32 weights -> float32 sums.
float32_product = _make_product(_isa.float32, _isa.float32_tile)
#: Panels of a wide tile: columns are best shared out in multiples of these.
WIDE_PANELS = _isa.int8_tile.panels
