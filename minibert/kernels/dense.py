"""Dense matrix products: a block of rows x a range of panels, in tiles. Twin: minibert.reference.linear.

What is multiplied lies in the file as it is read, where it can. Else a few panels at a time are laid out in scratch
memory, small enough for a cache near by, and read by all rows of the block: matrices of four bits
(minibert.kernels.four_bits), and int8 panels on CPUs that multiply int16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minibert.format.constants import ALIGNMENT, LANES
from minibert.kernels import opcodes as op
from minibert.kernels.emit import I8, I16, I64, constant, load, store
from minibert.kernels.four_bits import STEP, expand_panel, lay_out_groups, panel_bytes
from minibert.kernels.group_tile import make_group_tiles
from minibert.kernels.isa import current
from minibert.kernels.isa.base import GROUP_STEPS, GroupMicrokernel, Microkernel, Tile
from minibert.kernels.kernel import dispatch, int64, intrinsic, kernel, void
from minibert.kernels.simd import widen_codes
from minibert.kernels.step import field
from minibert.kernels.tile import make_tile
from minibert.kernels.tile_registers import ROW_BYTES, make_product

_ELEMENT = 4  # bytes of a row for one step
_GROUP_INPUTS = GROUP_STEPS * _ELEMENT


def _make_tiles(microkernel: Microkernel, most_rows: int, panels: int) -> Any:
    """A kernel that multiplies any number of rows with `panels` panels, in tiles of nearly equal height.

    Meanwhile it fetches `size` bytes for each panel from the address `ahead` on, about as many with each step. Where
    rows are multiplied together, so many more may be read and written than there are.
    """
    together = microkernel.rows_together
    heights = range(most_rows, 0, -together)
    tile = dispatch({height: make_tile(microkernel, height, panels, "steps") for height in heights}, *[int64] * 11)

    def tiles(rows, count, stride, inner, panel, out, out_stride, ahead, size, apart):
        pieces = (count + most_rows - 1) // most_rows
        steps = inner // _ELEMENT
        panel_bytes = steps * STEP
        distance = (size + pieces * steps - 1) // (pieces * steps)
        if apart == 0:
            apart = (distance + panels - 1) // panels
            distance = apart * panels
        # Divisions take long on small cores: one for all tiles, the higher ones of which come first.
        least = (count + together - 1) // together // pieces * together
        higher = (count - least * pieces + together - 1) // together
        row, to = rows, out
        for piece in range(pieces):
            height = least
            if piece < higher:
                height += together
            tile(row, stride, _ELEMENT, panel, panel_bytes, steps, to, out_stride, ahead, apart, distance, height)
            row += height * stride
            to += height * out_stride
            ahead += steps * distance

    return kernel(void, *[int64] * 10)(tiles)


def _make_product(microkernel: Microkernel, largest: Tile) -> Any:
    """Kernel: `count` rows `stride` bytes apart x panels first..end, results in rows `out_stride` bytes apart.

    Wide tiles take as many panels as the registers hold, the last panels go one at a time. `inner` is the length of
    a stored row in bytes, a multiple of 16; `weight` the address of panel 0 and `out` that of its first result. At
    `ahead` is what will be read afterwards, `size` bytes for each panel; if that is 0, it is the panels behind a tile's
    own.
    """
    rows, panels = largest.mr, largest.panels
    wide, narrow = _make_tiles(microkernel, rows, panels), _make_tiles(microkernel, rows, 1)

    def product(source, count, stride, inner, weight, first, end, out, out_stride, ahead, size):
        panel_bytes = inner * 16
        panel = first
        while panel < end:
            here = panels if panel + panels <= end else 1
            place, to = weight + panel * panel_bytes, out + panel * STEP
            following, fetched, apart = ahead, size, 0
            if size == 0:
                following, fetched, apart = place + here * panel_bytes, panel_bytes, panel_bytes
            if here == panels:
                wide(source, count, stride, inner, place, to, out_stride, following, fetched, apart)
            else:
                narrow(source, count, stride, inner, place, to, out_stride, following, fetched, apart)
            panel += here

    return kernel(void, *[int64] * 11)(product)


@kernel(void, *[int64] * 9)
def _no_product(source, count, stride, inner, weight, first, end, out, out_stride):
    """Stands where a CPU has no registers for whole tiles."""


_isa = current()
_HAS_TILE_REGISTERS = _isa.tile_registers is not None
_widened = _isa.int16 if _isa.widens else None
_panels_product = _make_product(_widened or _isa.int8_dense or _isa.int8, _isa.int8_tile)
_tile_product = make_product(_isa.tile_registers) if _isa.tile_registers else _no_product

_MOST_ROWS = _isa.int8_tile.mr
#: Panels of a wide tile: columns are best shared out in multiples of these.
WIDE_PANELS = _isa.int8_tile.panels
#: float32 rows x float32 weights -> float32 sums.
float32_product = _make_product(_isa.float32, _isa.float32_tile)


@kernel(void, *[int64] * 11)
def _product(source, count, stride, inner, weight, first, end, out, out_stride, ahead, size):
    """Rows x panels that lie as they are multiplied."""
    if _HAS_TILE_REGISTERS and inner % ROW_BYTES == 0:
        _tile_product(source, count, stride, inner, weight, first, end, out, out_stride)
    else:
        _panels_product(source, count, stride, inner, weight, first, end, out, out_stride, ahead, size)


@kernel(void, *[int64] * 6)
def _widen_rows(source, count, stride, inner, out, out_stride):
    """Rows of int8 become rows of int16, in the order that `widen_codes` gives them."""
    for row in range(count):
        for column in range(0, inner, LANES):
            widen_codes(source + row * stride + column, out + row * out_stride + 2 * column)


@intrinsic(void, int64, int64)
def _widen_step(builder: ir.IRBuilder, source: ir.Value, target: ir.Value) -> None:
    """A step of an int8 panel becomes two of int16: inputs 0 and 2 of each output, then 1 and 3."""
    pairs = load(builder, source, ir.VectorType(I16, STEP // 2))
    byte = constant(pairs.type, 8)
    even, odd = builder.ashr(builder.shl(pairs, byte), byte), builder.ashr(pairs, byte)
    store(builder, even, target, ALIGNMENT)
    store(builder, odd, builder.add(target, ir.Constant(I64, STEP)), ALIGNMENT)


@kernel(void, *[int64] * 3)
def _widen_panel(source, inner, out):
    for column in range(0, inner * LANES, STEP):
        _widen_step(source + column, out + 2 * column)


@intrinsic(void, int64, int64)
def _offset_codes(builder: ir.IRBuilder, source: ir.Value, target: ir.Value) -> None:
    """16 codes, 128 added to each."""
    codes = load(builder, source, ir.VectorType(I8, LANES))
    store(builder, builder.xor(codes, constant(codes.type, -128)), target)


@kernel(void, *[int64] * 6)
def _offset_rows(source, count, stride, inner, out, out_stride):
    """Rows of int8 become rows of unsigned bytes."""
    for row in range(count):
        for column in range(0, inner, LANES):
            _offset_codes(source + row * stride + column, out + row * out_stride + column)


@kernel(void, *[int64] * 11)
def _widened_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch):
    """Rows and panels are widened to int16."""
    rows = scratch + panel_bytes(inner)
    row_stride = 2 * inner + ALIGNMENT  # rows a power of two apart would fall into the same few sets of the cache
    _widen_rows(source, count, stride, inner, rows, row_stride)
    for panel in range(first, end):
        size = inner * LANES
        narrow = weight + panel * size
        ahead = narrow + size
        if weight == 0:
            narrow = scratch + 2 * size
            expand_panel(step, panel, inner, narrow, narrow, 0)
            size //= 2
            ahead = field(step, op.WEIGHT) + (panel + 1) * size
        _widen_panel(narrow, inner, scratch)
        _product(rows, count, row_stride, 2 * inner, scratch, 0, 1, out + panel * STEP, out_stride, ahead, size)


@kernel(void, *[int64] * 11)
def _expanded_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch):
    """Matrices of four bits become int8, as many panels at a time as a tile takes."""
    if weight != 0:
        _product(source, count, stride, inner, weight, first, end, out, out_stride, 0, 0)
    else:
        codes, size = field(step, op.WEIGHT), inner * LANES // 2
        for panel in range(first, end, WIDE_PANELS):
            here = min(WIDE_PANELS, end - panel)
            # To expand takes about as long as a tile. Meanwhile the next panels' codes come nearer.
            ahead, whole = codes + (panel + here) * size, here * size
            part = whole // (1 + (count + _MOST_ROWS - 1) // _MOST_ROWS)
            for number in range(here):
                place = scratch + number * inner * LANES
                expand_panel(step, panel + number, inner, place, ahead + number * (part // here), part // here)
            to = out + panel * STEP
            _product(source, count, stride, inner, scratch, 0, here, to, out_stride, ahead + part, whole - part)


_int8_product = _widened_product if _isa.widens else _expanded_product


def _make_group_product(microkernel: GroupMicrokernel) -> Any:
    """Kernel: rows x an int4 matrix by sums of groups, with the arguments of `integer_product`."""
    tiles, offset = make_group_tiles(microkernel), bool(microkernel.row_offset)

    def product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch):
        rows, row_stride = source, stride
        if offset:
            rows, row_stride = scratch + panel_bytes(inner), inner + ALIGNMENT
            _offset_rows(source, count, stride, inner, rows, row_stride)
        groups = (inner + _GROUP_INPUTS - 1) // _GROUP_INPUTS
        for panel in range(first, end):
            lay_out_groups(step, panel, inner, scratch)
            sums = field(step, op.WEIGHT_SUM) + panel * STEP
            size = inner * LANES // 2
            ahead = field(step, op.WEIGHT) + (panel + 1) * size
            tiles(rows, count, row_stride, scratch, groups, sums, out + panel * STEP, out_stride, ahead, size)

    return kernel(void, *[int64] * 11)(product)


_HAS_GROUPS = _isa.int4 is not None
_group_product = _make_group_product(_isa.int4) if _isa.int4 else _int8_product


@kernel(void, *[int64] * 11)
def integer_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch):
    """Codes (bytes, the CPU's offset added) x a dense matrix -> int32 sums.

    The matrix is int8, at `weight`, or the step's own of four bits where that is 0. In `scratch` panels and rows are
    laid out as they are multiplied: minibert.kernels.scratch says how much room that takes.
    """
    if (
        _HAS_GROUPS
        and weight == 0
        and field(step, op.GROUP_SIZE) % _GROUP_INPUTS == 0
        and field(step, op.KIND) == op.INT4
    ):
        _group_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch)
    else:
        _int8_product(step, source, count, stride, inner, weight, first, end, out, out_stride, scratch)
