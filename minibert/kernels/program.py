"""Walking a plan: one call runs a whole forward pass. Twin: minibert.reference.model.

A job names spans of consecutive texts. Either each thread takes whole spans by itself, or a team of threads goes
through every span together: then rows (or, for few rows, output columns) of each step are shared out, and barriers
stand where a step reads what other threads wrote.
"""

from __future__ import annotations

import numpy as np

from minibert.kernels import opcodes as op
from minibert.kernels.attention import attend_float32, attend_integer
from minibert.kernels.block_sparse import block_product, pack_tokens
from minibert.kernels.dense import WIDE_PANELS, float32_product, int8_product
from minibert.kernels.embedding import embed, rotate
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.quads import ROWS, f32x64
from minibert.kernels.rows import (
    UNMEASURED,
    add_bias,
    add_rows,
    copy_rows,
    dequantize,
    largest_magnitudes,
    multiply_rows,
    normalize,
)
from minibert.kernels.simd import (
    f32_of_bits,
    load_f32,
    load_f32x16,
    load_i64,
    maximum,
    splat_f32,
    store_f32,
    store_f32x16,
)
from minibert.kernels.step import field, normalized, place_of, row_stride, store_codes
from minibert.kernels.sync import take_ticket, wait_for_team

_BLOCK_ROWS = op.BLOCK_ROWS
_ONE = np.float32(1)


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
    if field(step, op.KIND) == op.BLOCK_SPARSE and count < field(step, op.DENSE_BELOW):
        dense = field(step, op.DENSE_WEIGHT)
        int8_product(source, count, source_stride, inner, dense, panel, end, sums, stride)
    elif field(step, op.KIND) == op.BLOCK_SPARSE:
        pack_tokens(source, source_stride, count, inner, scratch)
        index, starts = field(step, op.BLOCK_INDEX), field(step, op.BLOCK_STARTS)
        block_product(scratch, count, inner, weight, index, starts, 4 * panel, 4 * end, sums, stride)
    elif field(step, op.KIND) == op.INT8:
        int8_product(source, count, source_stride, inner, weight, panel, end, sums, stride)
    else:
        float32_product(source, count, source_stride, inner, weight, panel, end, sums, stride)


@kernel(f32x64, int64, int64, int64, int64, int64, int64)
def gate(step, arena, scratch, sums, number, y):
    """Four rows of y, the activated half of a product, times the other half; their largest magnitudes."""
    width, stride, from_stride = field(step, op.WIDTH), row_stride(step), sums_stride(step)
    bias, factor = field(step, op.BIAS) + 4 * width, field(step, op.FACTOR)
    if field(step, op.KIND) != op.FLOAT32:
        scale = arena + field(step, op.SOURCE_SCALES) + 4 * number
        weight_scale, weight_sum = field(step, op.WEIGHT_SCALE) + 4 * width, field(step, op.WEIGHT_SUM) + 4 * width
        source = sums + 4 * width
        dequantize(source, from_stride, width, scale, weight_scale, weight_sum, bias, factor, scratch, stride, 0)
    else:
        add_bias(sums + 4 * width, from_stride, width, bias, factor, scratch, stride, 0)
    return multiply_rows(y, stride, scratch, width, factor)


@kernel(void, int64, int64, int64, int64, int64, int64)
def epilogue(step, arena, scratch, sums, first, count):
    """Sums of rows first.. become the step's result, four rows at a time."""
    width, stride, from_stride = field(step, op.WIDTH), row_stride(step), sums_stride(step)
    bias, factor = field(step, op.BIAS), field(step, op.FACTOR)
    weight_scale, weight_sum = field(step, op.WEIGHT_SCALE), field(step, op.WEIGHT_SUM)
    activation = field(step, op.ACTIVATION)
    residual = field(step, op.RESIDUAL)
    norm = field(step, op.NORM_WEIGHT) != 0
    if activation == 0 and (norm or residual >= 0 or field(step, op.CODES) < 0):
        activation = UNMEASURED
    gated = field(step, op.OUTPUTS) != width
    for row in range(0, count, ROWS):
        number = first + row
        keep = place_of(step, arena, number)
        y = scratch
        if keep != 0 and not norm:
            y = keep
        source = sums + row * from_stride
        if field(step, op.KIND) != op.FLOAT32:
            scale = arena + field(step, op.SOURCE_SCALES) + 4 * number
            largest = dequantize(
                source, from_stride, width, scale, weight_scale, weight_sum, bias, factor, y, stride, activation
            )
        else:
            largest = add_bias(source, from_stride, width, bias, factor, y, stride, activation)
        if gated:
            largest = gate(step, arena, scratch + ROWS * stride, source, number, y)
        if residual >= 0:
            add_rows(y, stride, arena + residual + number * stride, stride, width)
            if not norm:
                largest = largest_magnitudes(y, stride, width, factor)
        if norm:
            if field(step, op.TOTAL) >= 0:
                copy_rows(y, stride, arena + field(step, op.TOTAL) + number * stride)
            out = keep
            if keep == 0:
                out = y
            largest = normalized(step, y, out)
            y = out
        store_codes(step, arena, y, number, largest)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def matmul_rows(step, arena, scratch, panels, sums, first, end):
    """A linear on rows first..end: blocks of rows go through product and epilogue while they are in cache."""
    blocks = (end - first + _BLOCK_ROWS - 1) // _BLOCK_ROWS
    height = ((end - first + blocks - 1) // max(blocks, 1) + 15) & -16
    for start in range(first, end, max(height, 1)):
        count = min(height, end - start)
        product(step, arena, panels, start, count, 0, field(step, op.OUTPUTS) >> 4, sums)
        if field(step, op.OUT) >= 0 or field(step, op.CODES) >= 0:  # neither: a product that is only timed
            epilogue(step, arena, scratch, sums, start, count)


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def attend(step, arena, scratch, starts, texts, thread, threads):
    """Attention of all heads of all texts; heads are shared out among the threads.

    Where the step's rows are texts, each text's first token alone asks.
    """
    width = field(step, op.HEAD_WIDTH)
    heads = field(step, op.HEADS)
    stride = 3 * heads * width * 4
    out_stride = heads * width * 4
    scale = f32_of_bits(field(step, op.HEAD_SCALE))
    biases, window = field(step, op.BIAS_TABLE), field(step, op.WINDOW)
    offset = load_i64(starts)
    for item in range(thread, texts * heads, threads):
        text = item // heads
        column = (item - text * heads) * width * 4
        first = load_i64(starts + 8 * text) - offset
        tokens = load_i64(starts + 8 * (text + 1)) - offset - first
        query = arena + field(step, op.SOURCE) + first * stride + column
        key = query + heads * width * 4
        value = key + heads * width * 4
        queries, row = tokens, first
        if field(step, op.ROWS) == op.TEXTS:
            queries, row = 1, text
        out = arena + field(step, op.OUT) + row * out_stride + column
        bias = biases
        if tokens - 1 <= window and field(step, op.BIAS_STRIDE) == 0:  # biases that only shut out what is far away
            bias = 0
        elif biases != 0:
            bias = biases + (item - text * heads) * field(step, op.BIAS_STRIDE)
        if field(step, op.EXACT) != 0:
            attend_float32(
                query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, scratch
            )
        else:
            attend_integer(
                query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, scratch
            )


@kernel(void, int64, int64, int64, int64)
def pool(step, arena, starts, texts):
    """One row a text."""
    width = field(step, op.WIDTH)
    kind = field(step, op.KIND)
    offset = load_i64(starts)
    for text in range(texts):
        first = load_i64(starts + 8 * text) - offset
        end = load_i64(starts + 8 * (text + 1)) - offset
        out = arena + field(step, op.OUT) + text * width * 4
        scale = splat_f32(_ONE / np.float32(end - first))
        for column in range(0, width * 4, 64):
            source = arena + field(step, op.SOURCE) + column
            if kind == op.POOL_CLS:
                value = load_f32x16(source + first * width * 4)
            elif kind == op.POOL_LAST:
                value = load_f32x16(source + (end - 1) * width * 4)
            else:
                value = load_f32x16(source + first * width * 4)
                for token in range(first + 1, end):
                    row = load_f32x16(source + token * width * 4)
                    value = maximum(value, row) if kind == op.POOL_MAX else value + row
                if kind == op.POOL_MEAN:
                    value = value * scale
            store_f32x16(out + column, value)


@kernel(void, int64, int64, int64, int64, int64)
def output(step, arena, first, end, out):
    """The meaningful columns of rows first..end, to the caller's memory."""
    columns = field(step, op.COLUMNS)
    source = arena + field(step, op.SOURCE)
    for row in range(first, end):
        for column in range(columns):
            value = load_f32(source + (row * field(step, op.WIDTH) + column) * 4)
            store_f32(out + (row * columns + column) * 4, value)


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


@kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
def run_rows(step, arena, scratch, ids, types, starts, first, end):
    """Steps that need nothing but the rows first..end themselves."""
    code = field(step, op.OP)
    width, stride = field(step, op.WIDTH), row_stride(step)
    if code == op.EMBED:
        embed(step, arena, scratch, ids, types, starts, first, end)
    elif code == op.ROTATE:
        rotate(step, arena, starts, first, end)
    elif code == op.QUANTIZE:
        for row in range(first, end, ROWS):
            source = arena + field(step, op.SOURCE) + row * stride
            store_codes(step, arena, source, row, largest_magnitudes(source, stride, width, field(step, op.FACTOR)))
    elif code == op.NORMALIZE:
        for row in range(first, end, ROWS):
            normalize(arena + field(step, op.OUT) + row * stride, width)


@kernel(void, int64, int64)
def run_span(job, span):
    """All steps on the texts of one span."""
    arena, scratch = field(job, op.JOB_ARENA), field(job, op.JOB_SCRATCH)
    row_scratch = scratch + _BLOCK_ROWS * (field(job, op.JOB_MOST_WIDTH) + op.SUMS_PADDING) * 4
    free_scratch = row_scratch + ROWS * field(job, op.JOB_MOST_WIDTH) * 4
    thread, threads = 0, 1
    if field(job, op.JOB_TEAM) != 0:
        thread, threads = field(job, op.JOB_THREAD), field(job, op.JOB_THREADS)
    barrier, shared_sums = field(job, op.JOB_BARRIER), field(job, op.JOB_SHARED_SUMS)
    first_text = load_i64(field(job, op.JOB_SPANS) + 16 * span)
    texts = load_i64(field(job, op.JOB_SPANS) + 16 * span + 8) - first_text
    starts = field(job, op.JOB_STARTS) + 8 * first_text
    first_token = load_i64(starts)
    tokens = load_i64(starts + 8 * texts) - first_token
    ids, types = field(job, op.JOB_IDS) + 4 * first_token, field(job, op.JOB_TYPES) + 4 * first_token
    by_columns = threads > 1 and tokens <= _BLOCK_ROWS
    # Rows go four at a time: shares begin at multiples of four, and only the last one may run over its end.
    first_row, end_row = (tokens * thread // threads) & -ROWS, (tokens * (thread + 1) // threads) & -ROWS
    if thread + 1 == threads:
        end_row = tokens

    for number in range(field(job, op.JOB_STEPS)):
        step = field(job, op.JOB_TABLE) + number * (8 * op.STEP_FIELDS)
        code = field(step, op.OP)
        first, end, earlier, share_columns = first_row, end_row, first_token, by_columns
        # A row a text is little work: the first thread's, once all tokens are done. But attention reads all tokens.
        if field(step, op.ROWS) == op.TEXTS and code != op.ATTEND:
            if code == op.POOL:
                wait_for_team(barrier, threads)
            if thread != 0:
                continue
            first, end, earlier, share_columns = 0, texts, first_text, False

        if code == op.MATMUL and share_columns:
            product_columns(step, arena, free_scratch, tokens, thread, threads, barrier, shared_sums)
            epilogue(step, arena, row_scratch, shared_sums + first * sums_stride(step), first, end - first)
        elif code == op.MATMUL:
            matmul_rows(step, arena, row_scratch, free_scratch, scratch, first, end)
        elif code == op.ATTEND:
            wait_for_team(barrier, threads)
            attend(step, arena, free_scratch, starts, texts, thread, threads)
            wait_for_team(barrier, threads)
        elif code == op.POOL:
            pool(step, arena, starts, texts)
        elif code == op.OUTPUT:
            output(step, arena, first, end, field(job, op.JOB_OUT) + earlier * field(step, op.COLUMNS) * 4)
        else:
            run_rows(step, arena, row_scratch, ids, types, starts, first, end)
    wait_for_team(barrier, threads)


def run(job):
    """Run a job to its end: this thread's part of it. `job` is the address of its entries."""
    team = field(job, op.JOB_TEAM) != 0
    count = field(job, op.JOB_SPAN_COUNT)
    span = 0
    if not team:
        span = take_ticket(field(job, op.JOB_TICKETS))
    while span < count:
        run_span(job, span)
        if team:
            span += 1
        else:
            span = take_ticket(field(job, op.JOB_TICKETS))


RUN_SIGNATURE = void(int64)
