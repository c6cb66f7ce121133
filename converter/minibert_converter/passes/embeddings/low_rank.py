"""The table of words as narrow rows and a matrix that widens them: ALBERT's E x H (arXiv 1909.11942).

Unlike `embeddings.projection`, which brings the normalized sum of all tables to the hidden size, this matrix applies to
the words alone, before positions are added: `x = LN(P w + b + position + token_type)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minibert.format import padded
from minibert_converter.matrices import widened
from minibert_converter.network import Float32Array, LinearWeights


def low_rank(
    table: Float32Array, columns: int, rank: int, weights: npt.NDArray[np.float64]
) -> tuple[Float32Array, LinearWeights]:
    """The words in so many dimensions that leave the least weighted squared error: principal components.

    Args:
        table: float32 [rows, H].
        columns: those of them that are no padding.
        rank: dimensions, fewer than columns.
        weights: float64 [rows], positive: what the error of each row counts.

    Returns:
        The words, float32 [rows, padded(rank)], and the matrix [columns, padded(rank)] that widens them, with the mean
        row as its bias.
    """
    real = table[:, :columns].astype(np.float64)
    shares = weights / weights.sum()
    mean = shares @ real
    centred = real - mean
    _values, vectors = np.linalg.eigh((centred.T * shares) @ centred)
    axes = vectors[:, ::-1][:, :rank]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(rank)])  # either sign is an eigenvector
    words, weight = (widened(each, padded(rank)).astype(np.float32) for each in (centred @ axes, axes))
    return words, LinearWeights(weight, mean.astype(np.float32))
