"""Softmax attention of one text and one head, in the order of the kernels: online over blocks of keys.

The softmax is never materialised: keys go by in blocks of KEY_BLOCK with a running maximum (online softmax,
arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from minibert import numerics
from minibert.format.constants import LANES, distances
from minibert.reference.functions import exp2, quantize_symmetric, softmax_weights

f32 = np.float32


class RelativeTables(NamedTuple):
    """What a head knows of distances (DeBERTa, arXiv 2006.03654).

    Attributes:
        rows: int32 [2 n - 1], the row of each distance i - j of query i and key j, that of 0 in the middle.
        keys: [rows, width], multiplied with queries: float32, or int8 codes.
        key_scales: float32 [rows], of the codes.
        queries: as `keys`, multiplied with keys.
        query_scales: float32 [rows].
    """

    rows: np.ndarray
    keys: np.ndarray
    key_scales: np.ndarray
    queries: np.ndarray
    query_scales: np.ndarray

    def of(self, tokens: int) -> RelativeTables:
        """One row for each distance within a text."""
        middle = len(self.rows) // 2
        rows = self.rows[middle - tokens + 1 : middle + tokens]
        return RelativeTables(rows, *(part[rows] for part in self[1:]))


def attend(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    head_size: int,
    *,
    exact: bool,
    bias: np.ndarray | None = None,
    window: int = 0,
    relative: RelativeTables | None = None,
) -> np.ndarray:
    """Context of one head: softmax(Q K^T / sqrt(head_size) + bias) V.

    Args:
        query: float32 [tokens, width], zero beyond head_size.
        key: float32 [keys, width], of all tokens or of the first ones.
        value: float32 [keys, width].
        head_size: the model's head size.
        exact: products in float32; otherwise of int8 codes (queries, keys) and 13-bit codes (softmax weights, values),
            with exact sums.
        bias: what is added to a score by distance i - j of query i and key j, times log2(e): float32, the middle
            of the first 2 n - 1 entries (rounded up to 16, and 16 more) is that of distance 0; or None.
        window: keys further away from their query than this are left out; 0 for none.
        relative: keys and queries of distances: a score is the sum of three products over sqrt(3 head_size).

    Returns:
        float32 [tokens, width].
    """
    tokens = len(query)
    distance = np.arange(tokens)[:, None] - np.arange(len(key))
    added = None
    if bias is not None:
        added = bias[distance + bias_middle(len(bias))]
    elif 0 < window < tokens - 1:
        table = window_biases(window)
        middle = bias_middle(len(table))
        added = table[np.clip(distance + middle, 0, len(table) - 1)]
    else:
        window = 0
    scale = f32(numerics.LOG2_E / math.sqrt(3 * head_size if relative else head_size))
    tables = relative and relative.of(tokens)
    if exact:
        return _attend_exact(query, key, value, scale, added, tables)
    return _attend_integer(query, key, value, scale, added, window, tables)


def bias_middle(columns: int) -> int:
    """Where distance 0 stands in a table of biases of so many columns (`minibert.format.constants.distances`)."""
    return columns // 2 - LANES // 2


def window_biases(window: int) -> np.ndarray:
    """Biases that mask keys further away than `window`, for all distances that the kernels look at: float32."""
    table = np.full(distances(window + 2 * LANES), f32(numerics.LOWEST_SCORE))
    middle = bias_middle(len(table))
    table[middle - window : middle + window + 1] = 0
    return table


def _diagonals(scores: np.ndarray) -> np.ndarray:
    """What row i has for partner j, of scores [tokens, 2 tokens - 1] for distances i - j: [tokens, tokens]."""
    place = np.arange(len(scores))
    return scores[place[:, None], place[:, None] - place + len(scores) - 1]


def _attend_exact(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    added: np.ndarray | None,
    tables: RelativeTables | None,
) -> np.ndarray:
    scores = (query * scale) @ key.T
    if added is not None:
        scores = scores + added
    if tables is not None:
        scores = scores + _diagonals(query @ tables.keys.T) * scale
        scores = scores + _diagonals(key @ tables.queries[::-1].T).T * scale
    weights = exp2(scores - scores.max(axis=1, keepdims=True))
    return (weights @ value) / weights.sum(axis=1, keepdims=True)


def _attend_integer(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    added: np.ndarray | None,
    window: int,
    tables: RelativeTables | None,
) -> np.ndarray:
    tokens, keys = len(query), len(key)
    query_codes, query_scale = quantize_symmetric(query, numerics.ATTENTION_LIMIT)
    key_codes, key_scale = quantize_symmetric(key, numerics.ATTENTION_LIMIT)
    value_codes, value_scale = quantize_symmetric(value.T, numerics.VALUE_LIMIT)  # one scale a column
    steps = f32(numerics.DISTANCE_STEPS)  # scores count so many to a power of two
    query_scale = query_scale * (scale * steps)
    of_key = of_query = np.zeros((0, 0), f32)
    if tables is not None:
        of_key = _diagonals(_exact_product(query_codes, tables.keys) * tables.key_scales)
        products = _exact_product(key_codes, tables.queries[::-1]) * tables.query_scales[::-1]
        of_query = _diagonals(products * (key_scale * (scale * steps))[:, None]).T

    context = np.zeros_like(query)
    total = np.zeros(tokens, f32)
    # Sixteen queries share the keys within reach of any of them.
    for first in range(0, tokens, LANES if window else tokens):
        rows = slice(first, first + (LANES if window else tokens))
        begin, end = (max(0, first - window) & -LANES, min(keys, first + LANES + window)) if window else (0, keys)
        largest = np.full(len(query[rows]), f32(numerics.LOWEST_SCORE))
        for start in range(begin, end, numerics.KEY_BLOCK):
            block = slice(start, min(start + numerics.KEY_BLOCK, end))
            products = _exact_product(query_codes[rows], key_codes[block])
            scores = products * key_scale[block]
            if tables is not None:
                scores = scores + of_key[rows, block]
            scores = scores * query_scale[rows, None]
            if tables is not None:
                scores = scores + of_query[rows, block]
            if added is not None:
                scores = scores + added[rows, block] * steps
            highest = np.maximum(largest, scores.max(axis=1))
            correction = exp2((largest - highest) * (f32(1.0) / steps))
            distance = np.rint(np.minimum(highest[:, None] - scores, f32(numerics.DISTANCE_LIMIT)))
            weights = softmax_weights(distance.astype(np.int32)).astype(f32)
            total[rows] = total[rows] * correction + weights.sum(axis=1)
            context[rows] = context[rows] * correction[:, None] + _exact_product(weights, value_codes[:, block])
            largest = highest
    return (context * value_scale) * (f32(1.0) / total)[:, None]


def _exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The int32 sums a @ b.T, as float32: float64 holds every partial sum exactly."""
    return (a.astype(np.float64) @ b.astype(np.float64).T).astype(f32)
