"""Softmax attention of one text, in the order of the kernels: online over blocks of keys.

The softmax is never materialised: keys go by in blocks of KEY_BLOCK with a running maximum (online softmax,
arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from minibert import numerics
from minibert.format.constants import LANES, distances
from minibert.reference.functions import exp2, quantize_symmetric, softmax_weights

f32 = np.float32

#: Scores of all heads at a time: with what is made of them, a megabyte or two.
SCORES = 1 << 18


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

    Several heads may stand before the other axes, each of which goes its own way, unless `exact` or `relative`.

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
    tokens = query.shape[-2]
    if bias is None and 0 < window < tokens - 1:
        bias = window_biases(window)
    elif bias is None:
        window = 0
    scale = f32(numerics.LOG2_E / math.sqrt(3 * head_size if relative else head_size))
    tables = relative and relative.of(tokens)
    if exact:
        return _attend_exact(query, key, value, scale, bias, tables)
    return _attend_integer(query, key, value, scale, bias, window, tables)


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


def _biases(table: np.ndarray, queries: slice, keys: slice) -> np.ndarray:
    """What is added to the scores of these queries and keys; where a table ends, all beyond is as its last column."""
    distance = np.arange(queries.start, queries.stop)[:, None] - np.arange(keys.start, keys.stop)
    columns = table.shape[-1]
    return table[..., np.clip(distance + bias_middle(columns), 0, columns - 1)]


def _attend_exact(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: np.float32,
    bias: np.ndarray | None,
    tables: RelativeTables | None,
) -> np.ndarray:
    scores = (query * scale) @ key.T
    if bias is not None:
        scores += _biases(bias, slice(0, len(query)), slice(0, len(key)))
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
    bias: np.ndarray | None,
    window: int,
    tables: RelativeTables | None,
) -> np.ndarray:
    tokens, keys = query.shape[-2], key.shape[-2]
    query_codes, query_scale = quantize_symmetric(query, numerics.ATTENTION_LIMIT)
    key_codes, key_scale = quantize_symmetric(key, numerics.ATTENTION_LIMIT)
    value_codes, value_scale = quantize_symmetric(value.swapaxes(-1, -2), numerics.VALUE_LIMIT)  # one scale a column
    value_codes = value_codes.swapaxes(-1, -2).astype(np.float64)
    steps = f32(numerics.DISTANCE_STEPS)  # scores count so many to a power of two
    query_scale = query_scale * (scale * steps)
    of_key = of_query = np.zeros((0, 0), f32)
    if tables is not None:
        of_key = _diagonals((query_codes @ tables.keys.T.astype(f32)) * tables.key_scales)
        products = (key_codes @ tables.queries[::-1].T.astype(f32)) * tables.query_scales[::-1]
        of_query = _diagonals(products * (key_scale * (scale * steps))[:, None]).T

    context = np.empty(query.shape, f32)
    total = np.empty(query.shape[:-1], f32)
    # Sixteen queries share the keys within reach of any of them; without a window, as many as the scores have room for.
    together = LANES if window else max(LANES, SCORES // (context[..., 0, 0].size * numerics.KEY_BLOCK))
    for first in range(0, tokens, together):
        rows = slice(first, min(first + together, tokens))
        begin, end = (max(0, first - window) & -LANES, min(keys, first + LANES + window)) if window else (0, keys)
        largest = f32(numerics.LOWEST_SCORE)
        for start in range(begin, end, numerics.KEY_BLOCK):
            block = slice(start, min(start + numerics.KEY_BLOCK, end))
            # A column for each query. float32 holds these sums exactly: 127 * 127 * MAX_HEAD_SIZE < 2**24.
            scores = key_codes[..., block, :] @ query_codes[..., rows, :].swapaxes(-1, -2)
            scores *= key_scale[..., block, None]
            if tables is not None:
                scores += of_key[rows, block].T
            scores *= query_scale[..., None, rows]
            if tables is not None:
                scores += of_query[rows, block].T
            if bias is not None:
                scores += (_biases(bias, rows, block) * steps).swapaxes(-1, -2)
            highest = np.maximum(largest, scores.max(axis=-2))
            weights = _weights_at(np.subtract(highest[..., None, :], scores, out=scores))
            # float64 holds these sums: KEY_BLOCK * WEIGHT_LIMIT * VALUE_LIMIT < 2**31.
            weighted = (weights.swapaxes(-1, -2) @ value_codes[..., block, :]).astype(f32)
            weight = weights.sum(axis=-2).astype(f32)
            if start > begin:
                correction = exp2((largest - highest) * (f32(1.0) / steps))
                weighted += context[..., rows, :] * correction[..., None]
                weight += total[..., rows] * correction
            context[..., rows, :], total[..., rows], largest = weighted, weight, highest
    context *= value_scale[..., None, :]
    context *= (f32(1.0) / total)[..., None]
    return context


def _weights_at(distance: np.ndarray) -> np.ndarray:
    """`softmax_weights` of distances in float32, which are rounded in place: float64."""
    np.minimum(distance, f32(numerics.DISTANCE_LIMIT), out=distance)
    np.rint(distance, out=distance)
    with np.errstate(invalid="ignore"):  # what is not a number is no distance
        return _weight_table().take(distance.astype(np.intp), mode="clip")


@cache
def _weight_table() -> np.ndarray:
    """The softmax weight of each distance."""
    return softmax_weights(np.arange(numerics.DISTANCE_LIMIT + 1)).astype(np.float64)
