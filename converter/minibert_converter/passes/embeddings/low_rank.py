"""The table of words as narrow rows and a matrix that widens them: ALBERT's E x H (arXiv 1909.11942).

Unlike `embeddings.projection`, which brings the normalized sum of all tables to the hidden size, this matrix applies to
the words alone, before positions are added: `x = LN(P w + b + position + token_type)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minibert.format import padded
from minibert_converter.network import Float32Array, LinearWeights


@dataclass(frozen=True)
class LowRank:
    """Words in few dimensions.

    Attributes:
        words: float32 [rows, padded(rank)].
        projection: [columns, padded(rank)], with the mean row as its bias.
        columns: columns that the table is padded to.
    """

    words: Float32Array
    projection: LinearWeights
    columns: int

    def dequantized(self) -> Float32Array:
        """The float32 [rows, H] rows that words and projection stand for."""
        rows = self.words @ self.projection.weight.T + self.projection.bias
        return np.pad(rows, ((0, 0), (0, self.columns - rows.shape[1])))


def low_rank(table: Float32Array, columns: int, rank: int, weights: npt.NDArray[np.float64]) -> LowRank:
    """The words in so many dimensions that leave the least weighted squared error: principal components.

    Args:
        table: float32 [rows, H].
        columns: those of them that are no padding.
        rank: dimensions, fewer than columns.
        weights: float64 [rows], positive: what the error of each row counts.
    """
    real = table[:, :columns].astype(np.float64)
    shares = weights / weights.sum()
    mean = shares @ real
    centred = real - mean
    _values, vectors = np.linalg.eigh((centred.T * shares) @ centred)
    axes = vectors[:, ::-1][:, :rank]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(rank)])  # either sign is an eigenvector
    missing = padded(rank) - rank
    words = np.pad(centred @ axes, ((0, 0), (0, missing))).astype(np.float32)
    weight = np.pad(axes, ((0, 0), (0, missing))).astype(np.float32)
    return LowRank(words, LinearWeights(weight, mean.astype(np.float32)), table.shape[1])
