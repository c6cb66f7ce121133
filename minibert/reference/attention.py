"""Softmax attention of one text and one head, in the order of the kernels: online over blocks of keys.

The softmax is never materialised: keys go by in blocks of KEY_BLOCK with a running maximum (online softmax,
arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
"""

from __future__ import annotations

import math

import numpy as np

from minibert import numerics
from minibert.reference.functions import exp2, quantize

f32 = np.float32


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, head_size: int, *, exact: bool) -> np.ndarray:
    """Context of one head: softmax(Q K^T / sqrt(head_size)) V.

    Args:
        query: float32 [tokens, width], zero beyond head_size.
        key: float32 [tokens, width].
        value: float32 [tokens, width].
        head_size: the model's head size.
        exact: products in float32; otherwise of int8 codes (queries, keys) and 13-bit codes (softmax weights, values), with exact sums.

    Returns:
        float32 [tokens, width].
    """
    return (_attend_exact if exact else _attend_integer)(query, key, value, head_size)


def _attend_exact(query: np.ndarray, key: np.ndarray, value: np.ndarray, head_size: int) -> np.ndarray:
    scores = (query * f32(numerics.LOG2_E / math.sqrt(head_size))) @ key.T
    weights = exp2(scores - scores.max(axis=1, keepdims=True))
    return (weights @ value) / weights.sum(axis=1, keepdims=True)


def _attend_integer(query: np.ndarray, key: np.ndarray, value: np.ndarray, head_size: int) -> np.ndarray:
    query_codes, query_scale = quantize(query, None)
    key_codes, key_scale = quantize(key, None)
    value_codes, value_scale = quantize(value.T, None, numerics.VALUE_LIMIT)  # one scale a column
    query_scale = query_scale * f32(numerics.LOG2_E / math.sqrt(head_size))

    tokens = len(query)
    largest = np.full(tokens, f32(numerics.LOWEST_SCORE))
    total = np.zeros(tokens, f32)
    context = np.zeros_like(query)
    for start in range(0, tokens, numerics.KEY_BLOCK):
        block = slice(start, start + numerics.KEY_BLOCK)
        products = _exact_product(query_codes, key_codes[block])
        scores = (products * key_scale[block]) * query_scale[:, None]
        highest = np.maximum(largest, scores.max(axis=1))
        correction = exp2(largest - highest)
        shift = (highest - f32(numerics.WEIGHT_BITS))[:, None]
        weights = np.rint(exp2(scores - shift, numerics.WEIGHT_POLYNOMIAL))
        total = total * correction + weights.sum(axis=1)
        context = context * correction[:, None] + _exact_product(weights, value_codes[:, block])
        largest = highest
    return (context * value_scale) * (f32(1.0) / total)[:, None]


def _exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The int32 sums a @ b.T, as float32: float64 holds every partial sum exactly."""
    return (a.astype(np.float64) @ b.astype(np.float64).T).astype(f32)
