"""Softmax attention of one head within one text, fused. Twin: minibert.reference.attention.

Sixteen queries lie in the lanes, and keys go by in blocks (minibert.kernels.softmax; the tiling of FlashAttention,
arXiv 2205.14135): nothing of size tokens x tokens exists. Both products are matrix products like any other, rows x
panel:

    scores [key][16 queries]    rows: the keys                     panel: the queries
    context [dim][16 queries]   rows: the dimensions of values     panel: the softmax weights

How integer operands lie in memory, and who multiplies them, depends on the CPU: attention_vectors,
attention_planes or attention_tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels.attention_codes import pack_panel, transpose
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.relative_attention import (
    add_positions_float32,
    add_positions_integer,
    float32_rows,
    pack_positions_float32,
    pack_positions_integer,
)
from minibert.kernels.scratch import (
    CORRECTION,
    KEYS,
    OFFSET,
    POSITION_FACTORS,
    POSITION_REST,
    QUERY_SCALE,
    ROW,
    SCORES,
    SOFTMAX_BYTES,
    TOTAL,
    VALUE_BYTES,
    WEIGHTS,
)
from minibert.kernels.simd import (
    load_f32,
    load_f32x16,
    load_i32x16,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_i32x16,
    to_f32,
    transpose_16x16,
)
from minibert.kernels.softmax import (
    add_biases,
    scale_and_bias_scores,
    scale_scores,
    score_maximum,
    softmax_float32,
    softmax_start,
)

_isa = current()
_KEY_OFFSET = np.int32(_isa.code_offset)
_BLOCK = numerics.KEY_BLOCK
#: Texts too short for tiles of 64 keys.
_FEW_TOKENS = 64
_ONE, _STEPS = np.float32(1), np.float32(numerics.DISTANCE_STEPS)
_NOTHING = np.int32(0)


@kernel(void, int64, int64, int64, int64, int64, int64)
def store_context(context, width, transposed, count, out, stride):
    """Context [dim][16 queries] becomes `count` rows of `width` columns, `stride` bytes apart."""
    for dim in range(0, width, 16):
        transpose_16x16(context + dim * ROW, ROW, transposed, ROW)
        for row in range(count):
            store_f32x16(out + row * stride + dim * 4, load_f32x16(transposed + row * ROW))


@kernel(void, int64, int64, int64, int64, int64)
def add_context(context, sums, width, scratch, first):
    """A block's integer sums go to those of older ones, if it is not the first one."""
    if first != 0:
        for dim in range(width):
            store_f32x16(context + dim * ROW, to_f32(load_i32x16(sums + dim * ROW)))
    else:
        correction = load_f32x16(scratch + CORRECTION)
        for dim in range(width):
            row = context + dim * ROW
            store_f32x16(row, load_f32x16(row) * correction + to_f32(load_i32x16(sums + dim * ROW)))


def _make_attend_integer(products: Any) -> Any:
    """Kernel: one head by one of the ways to multiply, `products`: a module as attention_vectors is one.

    Rows of float32 `stride` bytes apart in; context rows of the first `queries`, `out_stride` apart, out.
    `scale` is log2(e) / sqrt(head size). `bias` is the address of what is added to scores of distance 0, or 0; the
    next entry is for a query one further behind its key. No key further than `window` from all of 16 queries is read.
    `relative` is the step, where its head number `head` has scores that depend on distance, or 0.
    Up to 15 rows beyond the last token are read (and ignored).
    """
    key_bytes, pad_panel = products.key_bytes, products.pad_panel
    pack_keys, pack_values = products.pack_keys, products.pack_values
    score_block, weigh_block, context_block = products.score_block, products.weigh_block, products.context_block

    def attend(
        query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
    ):
        unit = width * ROW
        transposed = scratch + SOFTMAX_BYTES
        panel = transposed + unit
        sums = panel + unit
        context = sums + unit
        value_scale = context + unit
        key_scale = value_scale + unit
        capacity = (tokens + KEYS - 1) & -KEYS
        key_codes = key_scale + capacity * 4
        value_codes = key_codes + capacity * key_bytes(width)
        positions = value_codes + capacity * VALUE_BYTES * width
        codes, in_steps = positions + POSITION_REST, scale * _STEPS

        for first in range(0, tokens, 16):
            transpose(key + first * stride, stride, width, transposed)
            pack_keys(transposed, width, sums, key_codes + first * key_bytes(width), key_scale + first * 4)
        pack_values(value, stride, tokens, width, capacity, value_codes, value_scale, transposed)
        pad_panel(panel, width)
        if relative != 0:
            pack_positions_integer(relative, head, tokens, queries, width, positions)

        for first in range(0, queries, 16):
            transpose(query + first * stride, stride, width, transposed)
            total = pack_panel(transposed, width, _NOTHING, panel, scratch + QUERY_SCALE)
            store_f32x16(scratch + QUERY_SCALE, load_f32x16(scratch + QUERY_SCALE) * splat_f32(in_steps))
            # Keys are stored with an offset added: what that adds to every score of a query.
            store_i32x16(scratch + OFFSET, total * splat_i32(_KEY_OFFSET))
            if relative != 0:
                pack_panel(transposed, width, _KEY_OFFSET, codes, positions + POSITION_FACTORS)

            softmax_start(scratch)
            end = min(tokens, first + 16 + window)
            start = max(0, first - window) & -16
            for block in range(start, end, _BLOCK):
                keys = min(end - block, _BLOCK)
                score_block(scratch, key_codes, block, keys, width, panel)
                if relative != 0:
                    add_positions_integer(
                        scratch,
                        positions,
                        tokens,
                        queries,
                        width,
                        codes,
                        key_codes,
                        0,
                        key_scale,
                        in_steps,
                        first,
                        block,
                        keys,
                    )
                elif bias != 0:
                    scale_and_bias_scores(scratch, keys, key_scale + 4 * block, bias + 4 * (first - block))
                else:
                    scale_scores(scratch, keys, key_scale + 4 * block)
                weigh_block(scratch, keys)
                context_block(scratch, value_codes, block, keys, width, capacity, sums)
                add_context(context, sums, width, scratch, block == start)

            inverse = splat_f32(_ONE) / load_f32x16(scratch + TOTAL)
            for dim in range(width):
                row = context + dim * ROW
                store_f32x16(row, (load_f32x16(row) * splat_f32(load_f32(value_scale + 4 * dim))) * inverse)
            store_context(context, width, transposed, min(queries - first, 16), out + first * out_stride, out_stride)

    return kernel(void, *[int64] * 7, float32, *[int64] * 7)(attend)


if _isa.int16:
    from minibert.kernels import attention_vectors as _products
else:
    from minibert.kernels import attention_planes as _products
attend_integer = _make_attend_integer(_products)
if _isa.tile_registers:
    from minibert.kernels import attention_tiles

    _attend_by_dots, _attend_by_tiles = attend_integer, _make_attend_integer(attention_tiles)

    @kernel(void, *[int64] * 7, float32, *[int64] * 7)
    def attend_integer(
        q, k, v, stride, tokens, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
    ):
        """Texts of more than a few tokens by tiles; scores that depend on distance are made of other operands."""
        if tokens > _FEW_TOKENS and relative == 0:
            _attend_by_tiles(
                q, k, v, stride, tokens, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
            )
        else:
            _attend_by_dots(
                q, k, v, stride, tokens, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
            )


@kernel(void, *[int64] * 7, float32, *[int64] * 7)
def attend_float32(
    query, key, value, stride, tokens, queries, width, scale, out, out_stride, bias, window, relative, head, scratch
):
    """`attend_integer` with float32 products; keys and values are read where they are."""
    unit = width * ROW
    transposed = scratch + SOFTMAX_BYTES
    panel = transposed + unit
    sums = panel + unit
    context = sums + unit
    scales = splat_f32(scale)
    positions = context + unit
    if relative != 0:
        pack_positions_float32(relative, head, tokens, queries, width, positions)

    for first in range(0, queries, 16):
        asked = query + first * stride
        transpose(asked, stride, width, panel)
        for dim in range(width):
            store_f32x16(panel + dim * ROW, load_f32x16(panel + dim * ROW) * scales)

        softmax_start(scratch)
        end = min(tokens, first + 16 + window)
        start = max(0, first - window) & -16
        for block in range(start, end, _BLOCK):
            keys = min(end - block, _BLOCK)
            float32_rows(key + block * stride, keys, stride, 4, panel, width, scratch + SCORES)
            if relative != 0:
                add_positions_float32(
                    scratch, positions, tokens, queries, width, asked, key, stride, 0, scale, first, block, keys
                )
            else:
                if bias != 0:
                    add_biases(scratch, keys, bias + 4 * (first - block), _ONE)
                score_maximum(scratch, keys, _ONE)
            softmax_float32(scratch, keys)
            if block == start:
                float32_rows(value + block * stride, width, 4, stride, scratch + WEIGHTS, keys, context)
            else:
                float32_rows(value + block * stride, width, 4, stride, scratch + WEIGHTS, keys, sums)
                correction = load_f32x16(scratch + CORRECTION)
                for dim in range(width):
                    row = context + dim * ROW
                    store_f32x16(row, load_f32x16(row) * correction + load_f32x16(sums + dim * ROW))
        inverse = splat_f32(_ONE) / load_f32x16(scratch + TOTAL)
        for dim in range(width):
            store_f32x16(context + dim * ROW, load_f32x16(context + dim * ROW) * inverse)
        store_context(context, width, transposed, min(queries - first, 16), out + first * out_stride, out_stride)
