"""Codebooks of words that are turned first (optimized product quantization, Ge et al., IEEE TPAMI 36(4), 2014).

Neighbouring columns of a table know little of each other, and some directions matter more than others. So rows are
turned to their principal axes, in the metric of what errors cost, and axes are dealt to codebooks so that each has as
much to say: every codebook has the same bits. What turns rows back is the matrix "embeddings.word_projection", which
narrow words have too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minibert_converter.matrices import widened
from minibert_converter.network import Float32Array, LinearWeights

#: Axes with less than this part of the largest one's variance are dealt as if they had so much.
_LEAST = 1e-6


def turned(
    table: Float32Array,
    metric: npt.NDArray[np.float64],
    subvector_size: int,
    weights: npt.NDArray[np.float64],
) -> tuple[Float32Array, LinearWeights]:
    """Rows for codebooks, in which plain squared errors are those that the metric counts, and the matrix behind them.

    Args:
        table: float32 [rows, columns], without padding.
        metric: float64 [columns, columns], positive definite.
        subvector_size: columns of an entry.
        weights: float64 [rows], positive: what the error of each row counts.

    Returns:
        The turned rows, float32 [rows, H], H being a multiple of 16 and of `subvector_size`; and the matrix
        [columns, H] that brings them back, with the mean row as its bias.
    """
    columns = table.shape[1]
    width = -(-columns // 16) * 16
    shares = (weights / weights.sum()).astype(np.float32)
    mean = shares @ table
    values, axes = np.linalg.eigh(metric)
    root, inverse = ((axes * values**power) @ axes.T for power in (0.5, -0.5))
    seen = (table - mean) @ root.astype(np.float32)
    variances, turn = np.linalg.eigh(((seen.T * shares) @ seen).astype(np.float64))
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(columns)])  # either sign is an eigenvector
    turn = widened(turn, width)[:, _dealt(np.pad(variances, (0, width - columns)), width // subvector_size)]
    return seen @ turn.astype(np.float32), LinearWeights((inverse @ turn).astype(np.float32), mean)


def _dealt(variances: npt.NDArray[np.float64], parts: int) -> npt.NDArray[np.int64]:
    """The order of axes in which neighbours make parts of about the same product of variances."""
    logs = np.log(np.maximum(variances, _LEAST * variances.max()))
    hands: list[list[int]] = [[] for _ in range(parts)]
    held = np.zeros(parts)
    size = len(variances) // parts
    for axis in np.argsort(-logs, kind="stable"):
        open_hands = [part for part in range(parts) if len(hands[part]) < size]
        least = min(open_hands, key=lambda part: (held[part], part))
        hands[least].append(int(axis))
        held[least] += logs[axis] - logs.min() + 1e-3
    return np.concatenate([np.array(hand) for hand in hands])
