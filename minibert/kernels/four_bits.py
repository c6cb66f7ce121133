"""Matrices of four bits become what products read, a few panels at a time, just before they are multiplied.

Codes lie as the weights of an int8 matrix do, two to a byte (minibert.format.four_bit). What is made of them is either
the int8 panel that they stand for, or, where sums of a group of inputs are made of codes alone (`GroupMicrokernel`),
a panel of groups: GROUP_STEPS steps of codes as int8, then what their sums are multiplied by, GROUP_BYTES in all. It is
read by all rows of a block while it is in cache, and overwritten by the next one. Twin: minibert.format.four_bit.
"""

from __future__ import annotations

from llvmlite import ir

from minibert.format.constants import BLOCK, GROUP, LANES, RUN
from minibert.kernels import opcodes as op
from minibert.kernels.emit import I8, I8_LANES, I16, I32_LANES, I64, constant, counted_loop, load, prefetch, store
from minibert.kernels.isa import current
from minibert.kernels.isa.base import GROUP_BYTES, GROUP_STEPS
from minibert.kernels.kernel import int64, intrinsic, kernel, void
from minibert.kernels.scratch import panel_scratch
from minibert.kernels.step import field

STEP = LANES * GROUP  # bytes of a step of an int8 panel
_CODES = STEP // 2  # bytes of its codes
_I16_STEP, _I8_STEP = ir.VectorType(I16, STEP // 2), ir.VectorType(I8, STEP)
#: Steps of a panel that take as much memory as a run of blocks.
_RUN_STEPS = RUN * BLOCK * GROUP // STEP
_BLOCK_CODES = 8  # bytes of a block's codes

#: How many bytes laid out panels take at most, of `inner` inputs.
panel_bytes = kernel(int64, int64)(panel_scratch)

_isa = current()
#: The code of each value of four bits, in two's complement; and the same made unsigned.
_SIGNED = ir.Constant(I8_LANES, [*range(8), *range(-8, 0)])
_UNSIGNED = ir.Constant(I8_LANES, [code + 7 for code in (*range(8), *range(-8, 0))])


def _values(builder: ir.IRBuilder, table: ir.Value, codes: ir.Value) -> ir.Value:
    """What a step's codes at an address mean: int8 [64], each the one of 16 that a table has for it."""
    pairs = builder.zext(load(builder, codes, ir.VectorType(I8, _CODES)), _I16_STEP)
    apart = builder.or_(pairs, builder.shl(pairs, constant(_I16_STEP, 4)))
    return _isa.lookup(builder, table, builder.bitcast(builder.and_(apart, constant(_I16_STEP, 0x0F0F)), _I8_STEP))


def _fetch(builder: ir.IRBuilder, step: ir.Value, ahead: tuple[ir.Value, ...]) -> None:
    """Fetch what lies `ahead`, if anything: an address, and how many bytes a step goes on."""
    if ahead:
        address, distance = ahead
        prefetch(builder, builder.add(address, builder.mul(step, distance)))


def _emit_group(
    builder: ir.IRBuilder,
    codes: ir.Value,
    multipliers: ir.Value,
    steps: ir.Value,
    out: ir.Value,
    ahead: tuple[ir.Value, ...] = (),
) -> None:
    """Steps of codes that share 16 multipliers -> int8 weights.

    Two weights are multiplied at once, as the two bytes of an int16: codes are made unsigned by adding 7, so that a
    product is at most 14 * 18 < 256 and never reaches into the other byte; 7 multipliers are then taken away.
    """
    lanes = builder.zext(multipliers, I32_LANES)
    both = builder.bitcast(builder.mul(lanes, constant(I32_LANES, 0x00010001)), _I16_STEP)
    offset = builder.bitcast(builder.mul(both, constant(_I16_STEP, 0x0707)), _I8_STEP)

    def body(step: ir.Value) -> None:
        place = builder.add(codes, builder.mul(step, ir.Constant(I64, _CODES)))
        pairs = builder.bitcast(_values(builder, _UNSIGNED, place), _I16_STEP)
        products = builder.bitcast(builder.mul(pairs, both), _I8_STEP)
        _fetch(builder, step, ahead)
        store(builder, builder.sub(products, offset), builder.add(out, builder.mul(step, ir.Constant(I64, STEP))))

    counted_loop(builder, steps, body)


@intrinsic(void, *[int64] * 6)
def _expand_group(
    builder: ir.IRBuilder,
    codes: ir.Value,
    multipliers: ir.Value,
    steps: ir.Value,
    out: ir.Value,
    *ahead: ir.Value,
) -> None:
    """`steps` steps of codes x the multipliers of 16 outputs -> int8 weights, fetching ahead."""
    _emit_group(builder, codes, load(builder, multipliers, I8_LANES), steps, out, ahead)


@intrinsic(void, *[int64] * 3)
def _expand_run(builder: ir.IRBuilder, codes: ir.Value, multipliers: ir.Value, out: ir.Value) -> None:
    """A run of 4x4 blocks of codes x the multipliers of their four outputs -> int8 blocks."""
    four = load(builder, multipliers, ir.VectorType(I8, GROUP))
    order = ir.Constant(I32_LANES, [lane % GROUP for lane in range(LANES)])
    repeated = builder.shuffle_vector(four, ir.Constant(four.type, ir.Undefined), order)
    _emit_group(builder, codes, repeated, ir.Constant(I64, _RUN_STEPS), out)


@intrinsic(void, *[int64] * 6)
def _look_up(
    builder: ir.IRBuilder,
    codes: ir.Value,
    codebook: ir.Value,
    steps: ir.Value,
    out: ir.Value,
    *ahead: ir.Value,
) -> None:
    """`steps` steps of codes -> the int8 weights that a codebook has for them; fetches as `_expand_group` does."""
    table = load(builder, codebook, I8_LANES)

    def body(step: ir.Value) -> None:
        place = builder.add(codes, builder.mul(step, ir.Constant(I64, _CODES)))
        _fetch(builder, step, ahead)
        store(builder, _values(builder, table, place), builder.add(out, builder.mul(step, ir.Constant(I64, STEP))))

    counted_loop(builder, steps, body)


@intrinsic(void, *[int64] * 4)
def _lay_out_group(
    builder: ir.IRBuilder, codes: ir.Value, multipliers: ir.Value, steps: ir.Value, out: ir.Value
) -> None:
    """A group of a panel of groups: `steps` steps of codes, zeros for the others, multipliers."""
    microkernel = _isa.int4
    if microkernel is None:
        return

    def body(step: ir.Value) -> None:
        place = builder.add(codes, builder.mul(step, ir.Constant(I64, _CODES)))
        store(builder, _values(builder, _SIGNED, place), builder.add(out, builder.mul(step, ir.Constant(I64, STEP))))

    def zeros(step: ir.Value) -> None:
        place = builder.add(out, builder.mul(builder.add(steps, step), ir.Constant(I64, STEP)))
        store(builder, constant(_I8_STEP, 0), place)

    counted_loop(builder, steps, body)
    counted_loop(builder, builder.sub(ir.Constant(I64, GROUP_STEPS), steps), zeros)
    made = microkernel.multipliers(builder, load(builder, multipliers, I8_LANES))
    store(builder, made, builder.add(out, ir.Constant(I64, GROUP_STEPS * STEP)))


@kernel(void, *[int64] * 6)
def expand_panel(step, panel, inner, out, ahead, size):
    """One panel of a matmul's matrix of four bits -> the int8 panel that it stands for: `inner` * 16 bytes.

    Meanwhile `size` bytes from the address `ahead` on are fetched.
    """
    steps = inner // GROUP
    distance = (size + steps - 1) // steps
    codes = field(step, op.WEIGHT) + panel * steps * _CODES
    if field(step, op.KIND) == op.CODEBOOK_MATRIX:
        _look_up(codes, field(step, op.DECODER) + LANES * panel, steps, out, ahead, distance)
    else:
        group = field(step, op.GROUP_SIZE) // GROUP
        multipliers = field(step, op.DECODER) + (steps + group - 1) // group * LANES * panel
        for first in range(0, steps, group):
            place = multipliers + first // group * LANES
            here, to = min(group, steps - first), out + first * STEP
            _expand_group(codes + first * _CODES, place, here, to, ahead + first * distance, distance)


@kernel(void, *[int64] * 4)
def lay_out_groups(step, panel, inner, out):
    """One panel of an int4 matmul's matrix -> a panel of groups."""
    steps = inner // GROUP
    codes = field(step, op.WEIGHT) + panel * steps * _CODES
    size = field(step, op.GROUP_SIZE) // GROUP
    multipliers = field(step, op.DECODER) + (steps + size - 1) // size * LANES * panel
    for first in range(0, steps, GROUP_STEPS):
        place = multipliers + first // size * LANES
        _lay_out_group(codes + first * _CODES, place, min(GROUP_STEPS, steps - first), out)
        out += GROUP_BYTES


@kernel(int64, *[int64] * 4)
def expand_blocks(step, first, end, out):
    """4x4 blocks first..end of four bits -> int8 blocks, in whole runs; the address of the first one."""
    codes, multipliers = field(step, op.WEIGHT), field(step, op.DECODER)
    begin = first // RUN
    for run in range(begin, (end + RUN - 1) // RUN):
        place = out + (run - begin) * (_RUN_STEPS * STEP)
        _expand_run(codes + run * (RUN * _BLOCK_CODES), multipliers + run * GROUP, place)
    return out + (first - begin * RUN) * LANES
