"""Products with 4x4 block-sparse int8 matrices: only the blocks that are left. Twin: minibert.reference.linear.

Here tokens lie in the lanes. The codes of 16 tokens become a panel [input / 4][16 tokens][4 bytes]; a block of
4 outputs x 4 inputs adds, for each output, its 4 bytes times the panel's 64 bytes of that input group. With four
panels at once a block is 16 multiply-adds on 16 accumulators, for 4 loads of tokens and 16 bytes of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from minibert.format.constants import GROUP, LANES
from minibert.kernels import opcodes as op
from minibert.kernels.emit import I16, I32, I64, load, prefetch, store
from minibert.kernels.four_bits import expand_blocks, panel_bytes
from minibert.kernels.isa import current
from minibert.kernels.isa.base import Microkernel
from minibert.kernels.kernel import dispatch, int64, intrinsic, kernel, void
from minibert.kernels.simd import load_i32, transpose_16x16
from minibert.kernels.step import field
from minibert.kernels.tile import Phis, TileSums

_isa = current()
_PANEL = 64  # bytes of 16 tokens' codes of one input group
_BLOCK = 16  # bytes of a block
_FOUR = 4  # blocks, where the microkernel takes four steps in one go
_AHEAD = 2048  # bytes of blocks that are fetched before they are needed: few tokens use them up fast
_OUTPUTS, _MOST_PANELS = _isa.block_tile.mr, _isa.block_tile.panels
_HALF = 0  # as a number of panels: the first 8 tokens of one


def _make_block_tile(panels: int, microkernel: Microkernel = _isa.int8_panels) -> Any:
    """An intrinsic: one group of 4 outputs x `panels` panels of 16 tokens, or of as many as the microkernel has lanes.

    Its arguments, all int64: address of the first panel, bytes between panels; address of the group's blocks, of
    their uint16 input groups, their number (0 is fine); address of the first token's four int32 results, bytes
    between tokens.
    """

    @intrinsic(void, *[int64] * 7)
    def tile(builder: ir.IRBuilder, *arguments: ir.Value) -> None:
        _emit(builder, microkernel, panels, *arguments)

    return tile


def _emit(
    builder: ir.IRBuilder,
    microkernel: Microkernel,
    panels: int,
    panel: ir.Value,
    panel_stride: ir.Value,
    blocks: ir.Value,
    indices: ir.Value,
    count: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    bases = [builder.add(panel, builder.mul(panel_stride, ir.Constant(I64, p))) for p in range(panels)]
    results: dict[tuple[int, int], ir.Value] = {}
    for first in range(0, GROUP, _OUTPUTS):
        outputs = range(first, first + _OUTPUTS)
        results |= _emit_pass(builder, microkernel, outputs, bases, blocks, indices, count)
    for p in range(panels):
        first_token = builder.add(out, builder.mul(out_stride, ir.Constant(I64, p * LANES)))
        _store_by_token(builder, [results[o, p] for o in range(GROUP)], first_token, out_stride)


def _emit_pass(
    builder: ir.IRBuilder,
    microkernel: Microkernel,
    outputs: range,
    bases: list[ir.Value],
    blocks: ir.Value,
    indices: ir.Value,
    count: ir.Value,
) -> dict[tuple[int, int], ir.Value]:
    """The loops over a group's blocks for some of their outputs: the sums by (output, panel)."""
    sums: TileSums = {(o, p): microkernel.zero() for o in outputs for p in range(len(bases))}

    def places(number: ir.Value) -> tuple[ir.Value, list[ir.Value]]:
        """The addresses of a block's weights and of its input group's codes."""
        place = builder.add(indices, builder.shl(number, ir.Constant(I64, 1)))
        offset = builder.mul(builder.zext(load(builder, place, I16, 2), I64), ir.Constant(I64, _PANEL))
        block = builder.add(blocks, builder.mul(number, ir.Constant(I64, _BLOCK)))
        return block, [builder.add(base, offset) for base in bases]

    def add_block(number: ir.Value, sums: TileSums) -> TileSums:
        block, tokens = places(number)
        values = [microkernel.load_panel(builder, address) for address in tokens]
        prefetch(builder, builder.add(block, ir.Constant(I64, _AHEAD)))
        if microkernel.by_element:
            loaded = microkernel.four_elements(builder, block)
        else:
            loaded = [
                microkernel.broadcast(builder, builder.add(block, ir.Constant(I64, o * GROUP))) for o in range(GROUP)
            ]
        return {
            (o, p): microkernel.multiply_add(builder, sums[o, p], loaded[o], values[p])
            for o in outputs
            for p in range(len(bases))
        }

    def add_four_blocks(number: ir.Value, sums: TileSums) -> TileSums:
        found = [places(builder.add(number, ir.Constant(I64, each)) if each else number) for each in range(_FOUR)]
        prefetch(builder, builder.add(found[0][0], ir.Constant(I64, _AHEAD)))
        weights = [[builder.add(block, ir.Constant(I64, o * GROUP)) for block, _ in found] for o in outputs]
        added: TileSums = {}
        for p in range(len(bases)):
            of_panel = [sums[o, p] for o in outputs]
            panels = [tokens[p] for _, tokens in found]
            totals = microkernel.multiply_add_four_steps(builder, of_panel, weights, panels)
            added |= {(o, p): total for o, total in zip(outputs, totals, strict=True)}
        return added

    first: ir.Value = ir.Constant(I64, 0)
    if microkernel.four_steps:
        whole = builder.and_(count, ir.Constant(I64, -_FOUR))
        sums = _emit_loop(builder, sums, first, whole, _FOUR, add_four_blocks)
        first = whole
    sums = _emit_loop(builder, sums, first, count, 1, add_block)
    return {tile: microkernel.finish(builder, values) for tile, values in sums.items()}


def _emit_loop(
    builder: ir.IRBuilder,
    start: TileSums,
    first: ir.Value,
    end: ir.Value,
    stride: int,
    body: Callable[[ir.Value, TileSums], TileSums],
) -> TileSums:
    """Sums after blocks first..end, `stride` of them in a pass; there may be none."""
    entry = builder.block
    loop = builder.append_basic_block("blocks")
    done = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", end, first), loop, done)

    builder.position_at_end(loop)
    number = builder.phi(I64)
    number.add_incoming(first, entry)
    phis = Phis(builder, start, entry)
    added = body(number, phis.sums)
    following = builder.add(number, ir.Constant(I64, stride))
    number.add_incoming(following, builder.block)
    phis.add(added, builder.block)
    last = builder.block
    builder.cbranch(builder.icmp_signed("<", following, end), loop, done)

    builder.position_at_end(done)
    final = Phis(builder, start, entry)
    final.add(added, last)
    return final.sums


def _store_by_token(builder: ir.IRBuilder, outputs: list[ir.Value], address: ir.Value, stride: ir.Value) -> None:
    """Four vectors of 16 (or 8) tokens become as many rows of four results."""
    lanes_here = outputs[0].type.count

    def interleave(a: ir.Value, b: ir.Value, size: int, *, high: bool) -> ir.Value:
        """Units of `size` lanes of a and b in turn, within each quarter of the register: one unpack instruction."""
        lanes = []
        for quarter in range(0, lanes_here, GROUP):
            for unit in range(0, GROUP // 2, size):
                start = quarter + unit + (GROUP // 2 if high else 0)
                lanes += [*range(start, start + size), *range(lanes_here + start, lanes_here + start + size)]
        return builder.shuffle_vector(a, b, ir.Constant(outputs[0].type, lanes))

    pairs = [interleave(outputs[i], outputs[i + 1], 1, high=high) for high in (False, True) for i in (0, 2)]
    # pairs: outputs 0 and 1 of tokens 0, 1 of each quarter; outputs 2 and 3 of them; both again for tokens 2, 3
    rows = [interleave(pairs[i], pairs[i + 1], 2, high=high) for i in (0, 2) for high in (False, True)]
    for within, row in enumerate(rows):
        undefined = ir.Constant(row.type, ir.Undefined)
        for quarter in range(lanes_here // GROUP):
            lanes = ir.Constant(ir.VectorType(I32, GROUP), list(range(GROUP * quarter, GROUP * quarter + GROUP)))
            token = ir.Constant(I64, GROUP * quarter + within)
            store(
                builder,
                builder.shuffle_vector(row, undefined, lanes),
                builder.add(address, builder.mul(stride, token)),
                4,
            )


@kernel(void, int64, int64, int64, int64, int64)
def pack_tokens(source, stride, count, inner, panels):
    """Rows of codes become panels of 16 tokens: [panel][inner / 4][16 tokens][4 bytes].

    Rows up to the next multiple of 16 are read, and up to 63 bytes beyond a row.
    """
    for token in range(0, count, LANES):
        for column in range(0, inner, _PANEL):
            place = panels + token * inner + column * LANES
            transpose_16x16(source + token * stride + column, stride, place, _PANEL)


def _make_groups_product() -> Any:
    """Kernel: `count` tokens, packed, x groups first..end of 4 outputs; results in rows `out_stride` bytes apart.

    `blocks` is the address of the first group's first block.
    """
    tiles = {panels: _make_block_tile(panels) for panels in range(_MOST_PANELS, 0, -1)}
    if _isa.int8_half is not None:
        tiles = {_HALF: _make_block_tile(1, _isa.int8_half), **tiles}
    tile, has_half = dispatch(tiles, *[int64] * 7), _isa.int8_half is not None

    def product(panels, count, inner, blocks, indices, indptr, first, end, out, out_stride):
        stride = inner * LANES
        number = (count + LANES - 1) // LANES
        begin = int64(load_i32(indptr + 4 * first))
        for panel in range(0, number, _MOST_PANELS):
            width = min(number - panel, _MOST_PANELS)
            if has_half and count - panel * LANES <= LANES // 2:
                width = _HALF
            source = panels + panel * stride
            for group in range(first, end):
                start = int64(load_i32(indptr + 4 * group))
                blocks_here = int64(load_i32(indptr + 4 * group + 4)) - start
                block, place = blocks + (start - begin) * _BLOCK, indices + start * 2
                to = out + panel * LANES * out_stride + group * _BLOCK
                tile(source, stride, block, place, blocks_here, to, out_stride, width)

    return kernel(void, *[int64] * 10)(product)


_groups_product = _make_groups_product()
_GROUPS = LANES // GROUP  # of a panel of outputs


@kernel(void, *[int64] * 10)
def block_product(step, source, count, stride, inner, first, end, out, out_stride, scratch):
    """Codes x the blocks of a step's matrix, panels first..end of 16 outputs -> int32 sums.

    Blocks of four bits become int8 in `scratch`, those of a panel at a time; behind them are the tokens.
    """
    indices, indptr = field(step, op.BLOCK_INDICES), field(step, op.BLOCK_INDPTR)
    tokens = scratch + panel_bytes(inner)
    pack_tokens(source, stride, count, inner, tokens)
    if field(step, op.KIND) == op.INT4_BLOCKS:
        for group in range(first * _GROUPS, end * _GROUPS, _GROUPS):
            begin, after = load_i32(indptr + 4 * group), load_i32(indptr + 4 * (group + _GROUPS))
            blocks = expand_blocks(step, int64(begin), int64(after), scratch)
            _groups_product(tokens, count, inner, blocks, indices, indptr, group, group + _GROUPS, out, out_stride)
    else:
        blocks = field(step, op.WEIGHT) + int64(load_i32(indptr + 4 * _GROUPS * first)) * _BLOCK
        _groups_product(tokens, count, inner, blocks, indices, indptr, first * _GROUPS, end * _GROUPS, out, out_stride)
