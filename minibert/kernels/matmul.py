"""Linears on packed rows: the product, and the epilogue that turns its sums into what the next step reads.

Between the two nothing but a block of int32 (or float32) sums exists: bias, activation, residual, LayerNorm and the
quantization for the next linear happen while they are in cache. Twin: minibert.reference.model.
"""

from __future__ import annotations

from minibert.kernels import opcodes as op
from minibert.kernels.block_sparse import block_product
from minibert.kernels.dense import WIDE_PANELS, float32_product, integer_product
from minibert.kernels.isa import current_target
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.row_vectors import ROWS
from minibert.kernels.rows import add_bias, add_rows, copy_rows, dequantize, multiply_rows
from minibert.kernels.step import field, normalize_rows, place_of, row_stride, store_codes
from minibert.kernels.sync import wait_for_team

#: Rows whose sums are held at once.
BLOCK_ROWS = current_target().block_rows
#: Bytes of weights that, with all else, leave a second-level cache of usual size.
_LARGE_MATRIX = 1 << 20


@kernel(int64, int64)
def sums_stride(step):
    """Bytes between two rows of a matmul's sums."""
    return (field(step, op.OUTPUTS) + op.SUMS_PADDING) * 4


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def product(step, arena, scratch, first, count, panel, end, sums):
    """Sums of rows first.. (count of them) x panels panel..end, at `sums` in rows of `sums_stride` bytes."""
    inner = field(step, op.INNER)
    source_stride = field(step, op.SOURCE_STRIDE)
    source = arena + field(step, op.SOURCE) + first * source_stride
    stride = sums_stride(step)
    weight = field(step, op.WEIGHT)
    kind = field(step, op.KIND)
    if kind == op.FLOAT32:
        float32_product(source, count, source_stride, inner, weight, panel, end, sums, stride, 0, 0)
    elif kind == op.INT8:
        integer_product(step, source, count, source_stride, inner, weight, panel, end, sums, stride, scratch)
    elif kind == op.BLOCK_SPARSE and field(step, op.DENSE_FROM) <= count < field(step, op.DENSE_BELOW):
        dense = field(step, op.DENSE_WEIGHT)
        integer_product(step, source, count, source_stride, inner, dense, panel, end, sums, stride, scratch)
    elif kind == op.BLOCK_SPARSE or kind == op.INT4_BLOCKS:
        block_product(step, source, count, source_stride, inner, panel, end, sums, stride, scratch)
    else:
        integer_product(step, source, count, source_stride, inner, 0, panel, end, sums, stride, scratch)


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def linear_rows(step, arena, sums, number, first, width, y, activation):
    """Rows of the step's linear from their sums: `width` columns from `first` on."""
    stride, from_stride = row_stride(step), sums_stride(step)
    source, bias = sums + 4 * first, field(step, op.BIAS) + 4 * first
    if field(step, op.KIND) != op.FLOAT32:
        scale = arena + field(step, op.SOURCE_SCALES) + op.SCALE_BYTES * number
        weight_scale, weight_sum = field(step, op.WEIGHT_SCALE) + 4 * first, field(step, op.WEIGHT_SUM) + 4 * first
        dequantize(source, from_stride, width, scale, weight_scale, weight_sum, bias, y, stride, activation)
    else:
        add_bias(source, from_stride, width, bias, y, stride, activation)


@kernel(void, int64, int64, int64, int64, int64, int64)
def epilogue(step, arena, scratch, sums, first, count):
    """Sums of rows first.. become the step's result, a few rows at a time."""
    width, stride = field(step, op.WIDTH), row_stride(step)
    activation, at_once = field(step, op.ACTIVATION), field(step, op.ACTIVATION)
    residual = field(step, op.RESIDUAL)
    if residual >= 0:
        at_once = 0
    norm = field(step, op.NORM_WEIGHT) != 0
    gated = field(step, op.OUTPUTS) != width
    for row in range(0, count, ROWS):
        number = first + row
        keep = place_of(step, arena, number)
        y = scratch
        if keep != 0 and not norm:
            y = keep
        source = sums + row * sums_stride(step)
        linear_rows(step, arena, source, number, 0, width, y, at_once)
        if gated:
            other = scratch + ROWS * stride
            linear_rows(step, arena, source, number, width, width, other, 0)
            multiply_rows(y, stride, other, width)
        if residual >= 0:
            add_rows(y, stride, arena + residual + number * stride, stride, width, activation)
        if norm:
            if field(step, op.TOTAL) >= 0:
                copy_rows(y, stride, arena + field(step, op.TOTAL) + number * stride)
            out = keep
            if keep == 0:
                out = y
            normalize_rows(step, y, out)
            y = out
        store_codes(step, arena, y, number)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def matmul_rows(step, arena, scratch, panels, sums, first, end):
    """A linear on rows first..end: blocks of rows go through product and epilogue while they are in cache."""
    blocks = (end - first + BLOCK_ROWS - 1) // BLOCK_ROWS
    height = ((end - first + blocks - 1) // max(blocks, 1) + 15) & -16
    for start in range(first, end, max(height, 1)):
        count = min(height, end - start)
        product(step, arena, panels, start, count, 0, field(step, op.OUTPUTS) >> 4, sums)
        if field(step, op.OUT) >= 0 or field(step, op.CODES) >= 0:  # neither: only the product is timed
            epilogue(step, arena, scratch, sums, start, count)


@kernel(int64, int64, int64, int64)
def shares_columns(step, tokens, threads):
    """Whether threads share a step's columns, if it is a matmul, rather than its rows: 1 or 0.

    Then each fetches its part of the weights only; but it has to fetch the sums that the others made.
    """
    most = op.FEW_ROWS
    if field(step, op.INNER) * field(step, op.OUTPUTS) >= _LARGE_MATRIX:
        most = BLOCK_ROWS
    if threads > 1 and tokens <= most:
        return 1
    return 0


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def product_columns(step, arena, scratch, tokens, thread, threads, barrier, sums):
    """All rows of a product, each thread making some of its columns; nobody leaves before all columns are there."""
    panels = field(step, op.OUTPUTS) >> 4
    groups = (panels + WIDE_PANELS - 1) // WIDE_PANELS
    first = groups * thread // threads * WIDE_PANELS
    end = min(groups * (thread + 1) // threads * WIDE_PANELS, panels)
    wait_for_team(barrier, threads)
    product(step, arena, scratch, 0, tokens, first, end, sums)
    wait_for_team(barrier, threads)
