"""Which tokens and texts go on, in NumPy and in the order of the kernels."""

from __future__ import annotations

import math

import numpy as np

from minibert import numerics
from minibert.reference.functions import exp2

f32 = np.float32


def kept_parts(keep: float) -> int:
    """A fraction in parts of 2**KEPT_UNIT_BITS, at least one."""
    return max(1, round(keep * (1 << numerics.KEPT_UNIT_BITS)))


def first_token_attention(query: np.ndarray, key: np.ndarray, head_size: int) -> np.ndarray:
    """What the first token's attention gives each token, added over heads.

    Args:
        query: float32 [heads, width], the first token's.
        key: float32 [tokens, heads, width].
        head_size: the model's head size.

    Returns:
        float32 [tokens].
    """
    given = np.zeros(len(key), f32)
    for head in range(len(query)):
        score = np.zeros(len(key), f32)
        for dim in range(query.shape[1]):
            score = score + key[:, head, dim] * query[head, dim]
        score = score * f32(numerics.LOG2_E / math.sqrt(head_size))
        weights = exp2(score - score.max())
        given = given + weights * (f32(1) / _total(weights))
    return given


def tokens_to_keep(given: np.ndarray, keep: float) -> np.ndarray:
    """Positions of the first token and of those that it attends to most, in order: int [kept]."""
    kept = (len(given) * kept_parts(keep) + (1 << numerics.KEPT_UNIT_BITS) - 1) >> numerics.KEPT_UNIT_BITS
    others = 1 + np.argsort(-given[1:], kind="stable")[: kept - 1]
    return np.sort(np.concatenate([[0], others]))


def is_sure(logits: np.ndarray, threshold: float) -> bool:
    """Whether the likeliest label has at least this probability: `logits` are one text's, float32 [labels]."""
    return bool(_total(exp2((logits - logits.max()) * f32(numerics.LOG2_E))) <= f32(1 / threshold))


def _total(row: np.ndarray) -> np.float32:
    """The sum, added one after another as the kernel does."""
    return np.add.accumulate(row, dtype=f32)[-1]
