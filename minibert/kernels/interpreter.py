"""Walking a plan: one call runs a whole forward pass. Twin: minibert.reference.model.

A job names spans of consecutive texts. Either each thread takes whole spans by itself, or a team of threads goes
through every span together: then rows (or, for few rows, output columns) of each step are shared out, and barriers
stand where a step reads what other threads wrote.
"""

from __future__ import annotations

import numpy as np
from numba.core.types import UniTuple

from minibert.format.constants import LANES
from minibert.kernels import helpers
from minibert.kernels import opcodes as op
from minibert.kernels.attention import attend_float32, attend_integer
from minibert.kernels.embedding import embed, rotate
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.matmul import BLOCK_ROWS, epilogue, matmul_rows, product_columns, shares_columns, sums_stride
from minibert.kernels.opcodes import Op
from minibert.kernels.row_vectors import ROWS, load_rows, splat_rows, store_rows
from minibert.kernels.rows import normalize
from minibert.kernels.selection import leave_early, number_of, prune_tokens, select_tokens
from minibert.kernels.simd import (
    f32_of_bits,
    f32x16,
    load_f32,
    load_f32x16,
    load_i64,
    load_u8,
    maximum,
    splat_f32,
    square_root,
    store_f32,
    store_f32x16,
    store_i64,
)
from minibert.kernels.step import field, normalize_rows, row_stride, store_codes
from minibert.kernels.sync import take_ticket, wait_for_team
from minibert.kernels.tile_registers import close_registers, open_registers
from minibert.kernels.tokens.tokenize import tokenize

_ZERO, _ONE = np.float32(0), np.float32(1)


@kernel(void, *[int64] * 8)
def attend(step, arena, scratch, starts, texts, attended, thread, threads):
    """Attention of all heads of all texts; heads are shared out among the threads.

    Where the step's rows are texts, the query of each text's first token is the only one. `attended` is where it stands
    how many of each text's tokens have keys and values that count, or 0 if all have.
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
        head = item - text * heads
        column = head * width * 4
        first = load_i64(starts + 8 * text) - offset
        tokens = load_i64(starts + 8 * (text + 1)) - offset - first
        q = arena + field(step, op.SOURCE) + first * stride + column
        k = q + heads * width * 4
        v = k + heads * width * 4
        queries, keys, row = tokens, tokens, first
        if field(step, op.ROWS) == op.TEXTS:
            queries, row = 1, text
        if attended != 0:
            keys = load_i64(attended + 8 * text)
        out = arena + field(step, op.OUT) + row * out_stride + column
        bias = biases
        if tokens - 1 <= window and field(step, op.BIAS_STRIDE) == 0:  # biases that only mask what is far away
            bias = 0
        elif biases != 0:
            bias = biases + head * field(step, op.BIAS_STRIDE)
        relative = 0
        if field(step, op.DISTANCE_ROWS) != 0:
            relative = step
        if field(step, op.EXACT) != 0:
            attend_float32(
                q, k, v, stride, keys, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
            )
        else:
            attend_integer(
                q, k, v, stride, keys, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
            )


@kernel(UniTuple(int64, 4), int64, int64, int64)
def pooled_tokens(first, end, wanted):
    """Of the tokens first..end that are wanted: the first and the last one, how many, and the sum of their places.

    The first token's place in its text is 1.
    """
    if wanted == 0:
        tokens = end - first
        return first, end - 1, tokens, tokens * (tokens + 1) // 2
    begin, last, tokens, places = end, first, 0, 0
    for token in range(first, end):
        if load_u8(wanted + token) != 0:
            begin, last = min(begin, token), token
            tokens, places = tokens + 1, places + token - first + 1
    return begin, last, tokens, places


@kernel(f32x16, int64, int64, int64, int64, int64, int64, int64)
def combined(kind, source, stride, first, begin, last, wanted):
    """16 columns of the tokens begin..last of the text that starts with the token `first`, added up one by one."""
    value = load_f32x16(source + begin * stride)
    if kind == op.POOL_WEIGHTED_MEAN:
        value = value * splat_f32(np.float32(begin - first + 1))
    for token in range(begin + 1, last + 1):
        if wanted == 0 or load_u8(wanted + token) != 0:
            row = load_f32x16(source + token * stride)
            if kind == op.POOL_MAX:
                value = maximum(value, row)
            elif kind == op.POOL_WEIGHTED_MEAN:
                value = value + row * splat_f32(np.float32(token - first + 1))
            else:
                value = value + row
    return value


@kernel(void, int64, int64, int64, int64, int64)
def pool(step, arena, starts, texts, wanted):
    """One row a text: what each pooling makes of it, end to end."""
    width, stride = field(step, op.WIDTH), 4 * field(step, op.SOURCE_WIDTH)
    offset = load_i64(starts)
    for text in range(texts):
        first = load_i64(starts + 8 * text) - offset
        begin, last, tokens, places = pooled_tokens(first, load_i64(starts + 8 * (text + 1)) - offset, wanted)
        out = arena + field(step, op.OUT) + text * width * 4
        # What the last part does not cover is padding. Its own padding may run into the next row, which comes later.
        store_f32x16(out + (width - LANES) * 4, splat_f32(_ZERO))
        kinds = field(step, op.KIND)
        for _part in range(field(step, op.POOLS)):
            kind = kinds & ((1 << op.POOL_BITS) - 1)
            scale = splat_f32(_ONE)
            if kind == op.POOL_MEAN:
                scale = splat_f32(_ONE / np.float32(tokens))
            elif kind == op.POOL_WEIGHTED_MEAN:
                scale = splat_f32(_ONE / np.float32(places))
            elif kind == op.POOL_MEAN_SQRT_LENGTH:
                scale = splat_f32(_ONE) / square_root(splat_f32(np.float32(tokens)))
            for column in range(0, stride, 64):
                source = arena + field(step, op.SOURCE) + column
                if kind == op.POOL_CLS:
                    value = load_f32x16(source + begin * stride)
                elif kind == op.POOL_LAST:
                    value = load_f32x16(source + last * stride)
                else:
                    value = combined(kind, source, stride, first, begin, last, wanted) * scale
                store_f32x16(out + column, value)
            out += field(step, op.COLUMNS) * 4
            kinds >>= op.POOL_BITS


@kernel(void, int64, int64, int64, int64)
def mix(step, arena, first, end):
    """OUT = weight * SOURCE, and what OUT was."""
    stride = row_stride(step)
    weight, adds = splat_rows(f32_of_bits(field(step, op.MIX_WEIGHT))), field(step, op.MIX_ADDS)
    for row in range(first, end, ROWS):
        source, out = arena + field(step, op.SOURCE) + row * stride, arena + field(step, op.OUT) + row * stride
        for column in range(0, stride, 64):
            value = load_rows(source + column, stride) * weight
            if adds != 0:
                value = load_rows(out + column, stride) + value
            store_rows(out + column, stride, value)


@kernel(void, *[int64] * 8)
def output(step, job, arena, first, end, numbers, first_output, first_token):
    """The meaningful columns of rows first..end, to the caller's memory."""
    columns, place, before = field(step, op.COLUMNS), field(step, op.PLACE), first_output
    if place != op.JOB_OUT:  # rows of all tokens, beside the answer
        before = first_token
    out = field(job, place) + before * columns * 4
    source = arena + field(step, op.SOURCE)
    for row in range(first, end):
        target = out + number_of(numbers, row) * columns * 4
        for column in range(columns):
            store_f32(target + column * 4, load_f32(source + (row * field(step, op.WIDTH) + column) * 4))


@kernel(void, *[int64] * 9)
def run_rows(step, arena, scratch, ids, types, starts, wanted, first, end):
    """Steps that need nothing but the rows first..end themselves."""
    code = field(step, op.OP)
    width, stride = field(step, op.WIDTH), row_stride(step)
    if code == Op.EMBED:
        embed(step, arena, scratch, ids, types, starts, first, end)
    elif code == Op.ROTATE:
        rotate(step, arena, starts, first, end)
    elif code == Op.QUANTIZE:
        for row in range(first, end, ROWS):
            store_codes(step, arena, arena + field(step, op.SOURCE) + row * stride, row)
    elif code == Op.POOL:
        pool(step, arena, starts, end, wanted)
    elif code == Op.MIX:
        mix(step, arena, first, end)
    elif code == Op.NORM:
        for row in range(first, end, ROWS):
            rows = arena + field(step, op.OUT) + row * stride
            normalize_rows(step, rows, rows)
    elif code == Op.NORMALIZE:
        for row in range(first, end, ROWS):
            normalize(arena + field(step, op.OUT) + row * stride, width)


@kernel(UniTuple(int64, 3), int64, int64, int64, int64)
def shares(starts, texts, thread, threads):
    """How many tokens there are, and which rows are this thread's: first and end.

    Rows go a few at a time: shares begin at multiples of so many, and only the last one may run over its end.
    """
    tokens = load_i64(starts + 8 * texts) - load_i64(starts)
    first, end = (tokens * thread // threads) & -ROWS, (tokens * (thread + 1) // threads) & -ROWS
    if thread + 1 == threads:
        end = tokens
    return tokens, first, end


@kernel(int64, int64, int64, int64)
def entry_from(job, entry, offset):
    """The address in a job's entry, so many bytes further on; 0 where there is none."""
    place = field(job, entry)
    if place != 0:
        place += offset
    return place


@kernel(void, *[int64] * 8)
def select(step, arena, scratch, starts, texts, wanted, numbers, out):
    """Tokens or texts leave; how many texts stay is kept where all threads of a team read it."""
    if field(step, op.OP) == Op.EXIT:
        texts = leave_early(step, arena, scratch, starts, texts, numbers, out)
    elif field(step, op.OP) == Op.SELECT_TOKENS:
        select_tokens(step, arena, starts, texts, wanted)
    else:
        prune_tokens(step, arena, scratch, starts, texts)
    store_i64(arena + field(step, op.TEXTS_LEFT), texts)


@kernel(void, int64, int64)
def run_span(job, span):
    """All steps on the texts of one span."""
    arena, scratch = field(job, op.JOB_ARENA), field(job, op.JOB_SCRATCH)
    row_scratch = scratch + BLOCK_ROWS * (field(job, op.JOB_MOST_WIDTH) + op.SUMS_PADDING) * 4
    free_scratch = row_scratch + ROWS * field(job, op.JOB_MOST_WIDTH) * 4
    thread, threads = 0, 1
    if field(job, op.JOB_TEAM) != 0:
        thread, threads = field(job, op.JOB_THREAD), field(job, op.JOB_THREADS)
    barrier, shared_sums = field(job, op.JOB_BARRIER), field(job, op.JOB_SHARED_SUMS)
    first_text = load_i64(field(job, op.JOB_SPANS) + 16 * span)
    texts = load_i64(field(job, op.JOB_SPANS) + 16 * span + 8) - first_text
    starts = field(job, op.JOB_STARTS) + 8 * first_text
    first_token = load_i64(starts)
    ids, types = field(job, op.JOB_IDS) + 4 * first_token, field(job, op.JOB_TYPES) + 4 * first_token
    numbers, wanted = 0, entry_from(job, op.JOB_WANTED, first_token)
    attended = entry_from(job, op.JOB_ATTENDED, 8 * first_text)
    first_output = load_i64(field(job, op.JOB_OUT_STARTS) + 8 * first_text)
    tokens, first_row, end_row = shares(starts, texts, thread, threads)

    for number in range(field(job, op.JOB_STEPS)):
        step = field(job, op.JOB_TABLE) + number * (8 * op.STEP_FIELDS)
        code = field(step, op.OP)
        first, end, share_columns = first_row, end_row, shares_columns(step, tokens, threads)
        # A row a text is little work: the first thread's, once all tokens are done. But attention reads all tokens.
        if field(step, op.ROWS) == op.TEXTS and code != Op.ATTEND:
            if code == Op.POOL:
                wait_for_team(barrier, threads)
            if thread != 0:
                continue
            first, end, share_columns = 0, texts, 0

        if code == Op.MATMUL and share_columns != 0:
            product_columns(step, arena, free_scratch, tokens, thread, threads, barrier, shared_sums)
            epilogue(step, arena, row_scratch, shared_sums + first * sums_stride(step), first, end - first)
        elif code == Op.MATMUL:
            matmul_rows(step, arena, row_scratch, free_scratch, scratch, first, end)
        elif code == Op.ATTEND:
            wait_for_team(barrier, threads)
            attend(step, arena, free_scratch, starts, texts, attended, thread, threads)
            wait_for_team(barrier, threads)
        elif code >= Op.PRUNE_TOKENS and (code != Op.SELECT_TOKENS or wanted != 0):  # else all tokens are wanted
            wait_for_team(barrier, threads)
            if thread == 0:
                out = field(job, op.JOB_OUT) + first_output * field(step, op.COLUMNS) * 4
                select(step, arena, free_scratch, starts, texts, wanted, numbers, out)
            wait_for_team(barrier, threads)
            texts, starts = load_i64(arena + field(step, op.TEXTS_LEFT)), arena + field(step, op.STARTS)
            if code == Op.EXIT:
                numbers = arena + field(step, op.NUMBERS)
            if texts == 0:
                break
            tokens, first_row, end_row = shares(starts, texts, thread, threads)
        elif code == Op.OUTPUT:
            output(step, job, arena, first, end, numbers, first_output, first_token)
        else:
            run_rows(step, arena, row_scratch, ids, types, starts, wanted, first, end)
    wait_for_team(barrier, threads)


@kernel(void, int64)
def run_job(job):
    """This thread's part of a job; then wait until the others have come to their end."""
    open_registers()
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
    close_registers()
    wait_for_team(field(job, op.JOB_BARRIER), field(job, op.JOB_THREADS))


def run(job):
    """The entry point. `job` is the address of a job's entries; a helper begins here with one more than that."""
    helping = job & 1
    job -= helping
    calls = 0
    if helping == 0:
        kind = field(job, op.JOB_KIND)
        if kind == op.START:
            helpers.start(job)
            return
        if kind == op.STOP:
            helpers.stop(job)
            return
        if kind == op.READ_TEXTS:
            tokenize(field(job, op.JOB_TABLE))
            return
        for number in range(1, field(job, op.JOB_WAKE) + 1):
            helpers.call(job + number * (8 * op.JOB_FIELDS))
    while True:
        if helping != 0:
            calls = helpers.wait_for_call(job, calls)
            if field(job, op.JOB_KIND) == op.STOP:
                break
        run_job(job)
        if helping == 0:
            break


RUN_SIGNATURE = void(int64)
