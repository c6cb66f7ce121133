"""What a matrix's inputs look like: mean, second moments and a sample of rows, in memory that stays bounded."""

from __future__ import annotations

import numpy as np

from minibert_converter.network import Float32Array

#: Rows kept of one matrix's inputs: enough that the mean of their largest entries is known to about 1%.
SAMPLE_ROWS = 2048


class InputStatistics:
    """Statistics of the rows that enter one matrix, chunk after chunk.

    Memory is in^2 + SAMPLE_ROWS * in numbers, however many rows come.

    Args:
        seed: of the draw of sampled rows; the same seed and rows give the same statistics.

    Attributes:
        count: rows seen.
        sample: float32 [at most SAMPLE_ROWS, in], a uniform random sample of the rows.
    """

    def __init__(self, seed: int = 0) -> None:
        self.count = 0
        self.sample: Float32Array = np.zeros((0, 0), np.float32)
        self._keys = np.zeros(0)
        self._random = np.random.default_rng(seed)

    def add(self, rows: Float32Array) -> None:
        """Take in float32 [n, in] rows."""
        if not len(rows):
            return
        if not self.count:
            # Moments are summed about the first chunk's mean: a channel far from zero would lose its variance to
            # float32 otherwise.
            self._origin = rows.mean(axis=0)
            self._total = np.zeros(rows.shape[1])
            self._gram = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
            self.sample = rows[:0]
        moved = rows - self._origin
        self.count += len(rows)
        self._total += moved.sum(axis=0, dtype=np.float64)
        self._gram += moved.T @ moved
        # Each row draws a key and those with the smallest keys stay: a uniform sample of a stream.
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        order = np.sort(np.argsort(keys, kind="stable")[:SAMPLE_ROWS])
        self._keys, self.sample = keys[order], np.concatenate([self.sample, rows])[order]

    @property
    def mean(self) -> Float32Array:
        """Float32 [in], the mean row."""
        return (self._origin + self._total / self.count).astype(np.float32)

    def moments_about(self, centre: Float32Array) -> np.ndarray:
        """Float64 [in, in], the mean of (x - centre)(x - centre)^T over all rows x."""
        drift = self._total / self.count
        offset = self._origin + drift - centre
        return self._gram.astype(np.float64) / self.count - np.outer(drift, drift) + np.outer(offset, offset)
