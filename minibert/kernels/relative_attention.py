"""Scores that depend on how far a key stands from its query (DeBERTa, arXiv 2006.03654).

    score = query . key + query . position_key[distance] + key . position_query[distance]

A text's distances have rows in two tables. Both new products are matrix products like any other, of the rows of 16
queries (or 16 keys) and a panel of 16 distances:

    [query][16 distances, key - query]     rows: the queries     panel: position_key
    [key][16 distances, query - key]       rows: the keys        panel: position_query

Sixteen queries and sixteen keys stand up to 31 distances apart, two panels. What row r has for its partner c lies c - r
columns from where the second one begins: a stride that is one column short reads a square of scores along the diagonal.
Each panel is multiplied once with each row: from one square to the next, along the keys for queries and along the
queries for keys, the second panel's scores become the first one's. Memory grows with the text, not with its square.
Twin: minibert.reference.attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert import numerics
from minibert.kernels import opcodes as op
from minibert.kernels.attention_keys import int8_rows, make_rows
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.scratch import (
    LARGEST,
    OFFSET,
    POSITION_FACTORS,
    POSITION_ONES,
    POSITION_PITCH,
    POSITION_QUERIES,
    POSITION_REST,
    POSITION_SQUARE,
    POSITION_SUMS,
    QUERY_SCALE,
    ROW,
    SCORES,
)
from minibert.kernels.simd import (
    larger,
    load_f32,
    load_f32x16,
    load_i32,
    load_i32x16,
    splat_f32,
    splat_i32,
    store_f32,
    store_f32x16,
    store_i32,
    store_i32x16,
    to_f32,
    transpose_16x16,
)
from minibert.kernels.softmax import raise_maximum
from minibert.kernels.step import field

_isa = current()
_KEY_OFFSET = np.int32(_isa.code_offset)
_ONE, _INVERSE_STEPS = np.float32(1), np.float32(1.0 / numerics.DISTANCE_STEPS)
_ONES = np.int32(0x01010101)

float32_rows = make_rows(_isa.float32)


def _columns(exact: bool) -> int:
    """How many columns of a row four bytes hold: one of float32, or four of int8."""
    return 1 if exact else 4


def _make_pack_positions(exact: bool) -> Any:
    """Kernel: the panels of all distances in a text, of float32 or of codes."""
    columns = _columns(exact)

    @kernel(void, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def pack_distances(step, head, table, sign, first, panels, width, positions, out):
        """Rows of a table as panels, those of the distances sign * (first, first + 1, ...) of a query from its key.

        Behind each panel stand the scales of its rows, and what the offset of codes adds to sums.
        """
        heads, furthest = field(step, op.HEADS), field(step, op.MOST_DISTANCE)
        units = width // columns
        for panel in range(panels):
            place = out + panel * ((units + 2) * ROW)
            scale = place + units * ROW
            for lane in range(16):
                distance = sign * (first + panel * 16 + lane)
                distance = max(-furthest, min(furthest, distance))
                row = np.int64(load_i32(field(step, op.DISTANCE_ROWS) + 4 * distance)) * heads + head
                source = field(step, table) + row * (4 * units)
                for number in range(units):
                    store_i32(place + number * ROW + 4 * lane, load_i32(source + 4 * number))
                if not exact:
                    store_f32(scale + 4 * lane, load_f32(field(step, table + 1) + 4 * row))
            if not exact:
                int8_rows(positions + POSITION_ONES, 1, 0, 0, place, units, positions + POSITION_SUMS)
                store_i32x16(scale + ROW, load_i32x16(positions + POSITION_SUMS) * splat_i32(_KEY_OFFSET))

    @kernel(void, int64, int64, int64, int64, int64, int64)
    def pack_positions(step, head, tokens, queries, width, positions):
        """The panels of all distances in a text."""
        keys_at, queries_at = (tokens + 15) & -16, (queries + 15) & -16
        panels = (keys_at + queries_at) >> 4
        out = positions + POSITION_REST + 16 * width + keys_at * POSITION_PITCH
        store_i32(positions + POSITION_ONES, _ONES)
        pack_distances(step, head, op.POSITION_KEY, -1, -queries_at, panels, width, positions, out)
        out += panels * ((width // columns + 2) * ROW)
        pack_distances(step, head, op.POSITION_QUERY, 1, -keys_at, panels, width, positions, out)

    return pack_positions


def _make_multiply(exact: bool) -> Any:
    """Kernel: the scores of rows with two neighbouring panels, by float32 products or by those of codes."""
    product = float32_rows if exact else int8_rows

    @kernel(void, int64, int64, int64, int64, int64, int64, int64, int64)
    def multiply(row, count, row_stride, row_step, panel, units, positions, out):
        """Scores of `count` rows with a panel, times the rows' factors."""
        product(row, count, row_stride, row_step, panel, units, positions + POSITION_SUMS)
        for number in range(count):
            factor = splat_f32(load_f32(positions + POSITION_FACTORS + 4 * number))
            sums = positions + POSITION_SUMS + number * ROW
            if exact:
                scores = load_f32x16(sums) * factor
            else:
                scale, offset = load_f32x16(panel + units * ROW), load_i32x16(panel + (units + 1) * ROW)
                scores = (to_f32(load_i32x16(sums) - offset) * scale) * factor
            store_f32x16(out + number * POSITION_PITCH, scores)

    @kernel(void, *[int64] * 9)
    def multiply_two(row, count, row_stride, row_step, panel, units, positions, out, anew):
        """The scores of a panel and of the one before it, which were the second panel's unless `anew`."""
        if anew != 0:
            multiply(row, count, row_stride, row_step, panel - (units + 2) * ROW, units, positions, out)
        else:
            for number in range(count):
                place = out + number * POSITION_PITCH
                store_f32x16(place, load_f32x16(place + ROW))
        multiply(row, count, row_stride, row_step, panel, units, positions, out + ROW)

    return multiply_two


def _make_add_positions(exact: bool) -> Any:
    """Kernel: scores with what distances add, of float32 products or of those of codes."""
    columns, score_unit = _columns(exact), _ONE if exact else _INVERSE_STEPS
    multiply = _make_multiply(exact)

    @kernel(void, *[int64] * 9, float32, int64, int64, int64)
    def add_positions(
        scratch, positions, tokens, queries, width, query, key_rows, stride, key_scale, scale, first, block, keys
    ):
        """Scores of a block of keys with up to 16 queries, with what distances add; and the running maximum.

        `query` is the address of the queries from number `first` on, `key_rows` that of all keys: rows of float32,
        `stride` bytes apart, or codes in groups of 16. `scale` makes scores of products.
        """
        row_stride, row_step, key_step = 4, ROW, 16 * width
        if exact:
            row_stride, row_step, key_step = stride, 4, 16 * stride
        count = min(queries - first, 16)
        units = width // columns
        keys_at, queries_at = (tokens + 15) & -16, (queries + 15) & -16
        by_query, square = positions + POSITION_QUERIES, positions + POSITION_SQUARE
        by_keys = positions + POSITION_REST + 16 * width
        panel_bytes = (units + 2) * ROW
        key_panels = by_keys + keys_at * POSITION_PITCH
        query_panels = key_panels + ((keys_at + queries_at) >> 4) * panel_bytes
        query_scale, offset = load_f32x16(scratch + QUERY_SCALE), load_i32x16(scratch + OFFSET)
        highest = load_f32x16(scratch + LARGEST)
        for key in range(block, block + keys, 16):
            some = min(block + keys - key, 16)
            ahead = (first - key) >> 4
            if exact:
                store_f32x16(positions + POSITION_FACTORS, splat_f32(scale))
            else:
                store_f32x16(positions + POSITION_FACTORS, splat_f32(_ONE))
            panel = key_panels + ((queries_at >> 4) - ahead) * panel_bytes
            anew = 1 if key == 0 else 0
            multiply(query, count, row_stride, row_step, panel, units, positions, by_query, anew)
            transpose_16x16(by_query + ROW, POSITION_PITCH - 4, square, ROW)

            if not exact:
                store_f32x16(positions + POSITION_FACTORS, load_f32x16(key_scale + 4 * key) * splat_f32(scale))
            panel = query_panels + ((keys_at >> 4) + ahead) * panel_bytes
            by_key, rows = by_keys + key * POSITION_PITCH, key_rows + (key >> 4) * key_step
            anew = 1 if first == 0 else 0
            multiply(rows, some, row_stride, row_step, panel, units, positions, by_key, anew)

            for number in range(some):
                row = scratch + SCORES + (key - block + number) * ROW
                of_key = load_f32x16(square + number * ROW)
                of_query = load_f32x16(by_key + ROW + number * (POSITION_PITCH - 4))
                if exact:
                    score = (load_f32x16(row) + of_key) + of_query
                else:
                    product_of_contents = to_f32(load_i32x16(row) - offset) * splat_f32(
                        load_f32(key_scale + 4 * (key + number))
                    )
                    score = (product_of_contents + of_key) * query_scale + of_query
                store_f32x16(row, score)
                highest = larger(score, highest)
        raise_maximum(scratch, highest, score_unit)

    return add_positions


pack_positions_float32, pack_positions_integer = _make_pack_positions(True), _make_pack_positions(False)
add_positions_float32, add_positions_integer = _make_add_positions(True), _make_add_positions(False)
