"""Texts and tokens that need no further layers leave a span while it runs. Twin: minibert.reference.selection.

What stays moves up in place, so the steps that follow see a smaller batch and nothing else. One thread does it: it is
little work, and each text is decided by itself, whatever stands beside it.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels import opcodes as op
from minibert.kernels.attention_codes import transpose
from minibert.kernels.functions import exp2
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import (
    f32_of_bits,
    load_f32,
    load_f32x16,
    load_i64,
    load_u8,
    splat_f32,
    store_f32,
    store_f32x16,
    store_i64,
)
from minibert.kernels.step import field

_ZERO, _ONE = np.float32(0), np.float32(1)
_LOG2_E = np.float32(numerics.LOG2_E)
_KEPT_UNIT_BITS = numerics.KEPT_UNIT_BITS


@kernel(void, int64, int64, int64, int64)
def move_rows(rows, width, source, target):
    """Row `source` of `width` floats becomes row `target`."""
    stride = 4 * width
    if source != target:
        for column in range(0, stride, 64):
            store_f32x16(rows + target * stride + column, load_f32x16(rows + source * stride + column))


@kernel(void, int64, int64, int64, int64, int64)
def first_token_attention(step, rows, tokens, given, scratch):
    """What the first token's attention gives each token of a text, added over heads: float32 [tokens] at `given`."""
    heads, width = field(step, op.HEADS), field(step, op.HEAD_WIDTH)
    stride = 3 * heads * width * 4
    scale = splat_f32(f32_of_bits(field(step, op.HEAD_SCALE)))
    weights, transposed = scratch, scratch + ((tokens + 15) & -16) * 4
    for first in range(0, tokens, 16):
        store_f32x16(given + 4 * first, splat_f32(_ZERO))
    for head in range(heads):
        query = rows + head * width * 4
        key = query + heads * width * 4
        for first in range(0, tokens, 16):
            transpose(key + first * stride, stride, width, transposed)
            score = splat_f32(_ZERO)
            for dim in range(width):
                score = score + load_f32x16(transposed + dim * 64) * splat_f32(load_f32(query + 4 * dim))
            store_f32x16(weights + 4 * first, score * scale)
        highest = load_f32(weights)
        for token in range(1, tokens):
            highest = max(highest, load_f32(weights + 4 * token))
        for first in range(0, tokens, 16):
            store_f32x16(weights + 4 * first, exp2(load_f32x16(weights + 4 * first) - splat_f32(highest)))
        total = _ZERO
        for token in range(tokens):
            total += load_f32(weights + 4 * token)
        share = splat_f32(_ONE / total)
        for first in range(0, tokens, 16):
            place = given + 4 * first
            store_f32x16(place, load_f32x16(place) + load_f32x16(weights + 4 * first) * share)


@kernel(int64, int64, int64, int64)
def rank(given, tokens, token):
    """How many tokens but the first come before this one; of equals the earlier one comes first."""
    mine, before = load_f32(given + 4 * token), 0
    for other in range(1, tokens):
        theirs = load_f32(given + 4 * other)
        if theirs > mine or (theirs == mine and other < token):
            before += 1
    return before


@kernel(void, int64, int64, int64, int64, int64)
def prune_tokens(step, arena, scratch, starts, texts):
    """The first token of each text and those that it attends to most stay."""
    kept_starts = arena + field(step, op.STARTS)
    stride = 3 * field(step, op.HEADS) * field(step, op.HEAD_WIDTH) * 4
    hidden, hidden_width = arena + field(step, op.HIDDEN), field(step, op.HIDDEN_WIDTH)
    context, context_width = arena + field(step, op.CONTEXT), field(step, op.CONTEXT_WIDTH)
    offset = load_i64(starts)
    first, target = 0, 0
    for text in range(texts):
        end = load_i64(starts + 8 * (text + 1)) - offset
        tokens = end - first
        kept = (tokens * field(step, op.KEPT) + (1 << _KEPT_UNIT_BITS) - 1) >> _KEPT_UNIT_BITS
        free = scratch + 4 * ((tokens + 15) & -16)
        first_token_attention(step, arena + field(step, op.SOURCE) + first * stride, tokens, scratch, free)
        for token in range(tokens):
            if token == 0 or rank(scratch, tokens, token) < kept - 1:
                move_rows(hidden, hidden_width, first + token, target)
                move_rows(context, context_width, first + token, target)
                target += 1
        # `starts` and `kept_starts` may be the same: an entry is read before it is written.
        store_i64(kept_starts + 8 * (text + 1), target)
        first = end
    store_i64(kept_starts, 0)


@kernel(void, int64, int64, int64, int64, int64)
def select_tokens(step, arena, starts, texts, wanted):
    """The tokens stay for which there is a byte other than 0 at `wanted`."""
    kept_starts = arena + field(step, op.STARTS)
    hidden, hidden_width = arena + field(step, op.HIDDEN), field(step, op.HIDDEN_WIDTH)
    context, context_width = arena + field(step, op.CONTEXT), field(step, op.CONTEXT_WIDTH)
    offset = load_i64(starts)
    token, target = 0, 0
    for text in range(texts):
        end = load_i64(starts + 8 * (text + 1)) - offset
        while token < end:
            if load_u8(wanted + token) != 0:
                move_rows(hidden, hidden_width, token, target)
                move_rows(context, context_width, token, target)
                target += 1
            token += 1
        store_i64(kept_starts + 8 * (text + 1), target)
    store_i64(kept_starts, 0)


@kernel(int64, int64, int64)
def number_of(numbers, text):
    """Which answer is this text's."""
    if numbers == 0:
        return text
    return load_i64(numbers + 8 * text)


@kernel(int64, int64, int64, int64)
def is_sure(step, logits, scratch):
    """Whether the likeliest label of a row of logits reaches the step's threshold: 1 or 0."""
    columns = field(step, op.COLUMNS)
    highest = load_f32(logits)
    for column in range(1, columns):
        highest = max(highest, load_f32(logits + 4 * column))
    total = _ZERO
    for group in range(0, columns, 16):
        store_f32x16(scratch, exp2((load_f32x16(logits + 4 * group) - splat_f32(highest)) * splat_f32(_LOG2_E)))
        for column in range(min(columns - group, 16)):
            total += load_f32(scratch + 4 * column)
    if total <= f32_of_bits(field(step, op.SURE_BELOW)):
        return 1
    return 0


@kernel(int64, *[int64] * 7)
def leave_early(step, arena, scratch, starts, texts, numbers, out):
    """Texts that are sure of their label get it as their answer; returns how many stay.

    `numbers` is where each text's number among the answers at `out` stands, or 0 before any text has left.
    """
    left_starts, left_numbers = arena + field(step, op.STARTS), arena + field(step, op.NUMBERS)
    hidden, width = arena + field(step, op.HIDDEN), field(step, op.HIDDEN_WIDTH)
    columns = field(step, op.COLUMNS)
    offset = load_i64(starts)
    first, target, staying = 0, 0, 0
    for text in range(texts):
        end = load_i64(starts + 8 * (text + 1)) - offset
        number = number_of(numbers, text)
        logits = arena + field(step, op.SOURCE) + text * field(step, op.WIDTH) * 4
        if is_sure(step, logits, scratch) != 0:
            for column in range(columns):
                store_f32(out + (number * columns + column) * 4, load_f32(logits + 4 * column))
        else:
            for token in range(first, end):
                move_rows(hidden, width, token, target)
                target += 1
            store_i64(left_numbers + 8 * staying, number)
            staying += 1
            store_i64(left_starts + 8 * staying, target)
        first = end
    store_i64(left_starts, 0)
    return staying
