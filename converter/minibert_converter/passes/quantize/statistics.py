"""What a matrix's inputs look like: mean, second moments and a sample of rows, in memory that stays bounded."""

from __future__ import annotations

import numpy as np

from minibert_converter.calibration.regression import Regression
from minibert_converter.network import Float32Array

#: Rows kept of one matrix's inputs: enough that the mean of their largest entries is known to about 1%.
SAMPLE_ROWS = 2048


class InputStatistics(Regression):
    """Statistics of the rows that enter one matrix, chunk after chunk.

    Memory is in^2 + SAMPLE_ROWS * in numbers, however many rows come.

    Args:
        seed: of the draw of sampled rows; the same seed and rows give the same statistics.

    Attributes:
        sample: float32 [at most SAMPLE_ROWS, in], a uniform random sample of the rows.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.sample: Float32Array = np.zeros((0, 0), np.float32)
        self._keys = np.zeros(0)
        self._random = np.random.default_rng(seed)

    def add(self, x: Float32Array, y: Float32Array | None = None) -> None:
        """Take in float32 [n, in] rows."""
        if not len(x):
            return
        if not self.count:
            self.sample = x[:0]
        super().add(x, y)
        # Each row draws a key and those with the smallest keys stay: a uniform sample of a stream.
        keys = np.concatenate([self._keys, self._random.random(len(x))])
        order = np.sort(np.argsort(keys, kind="stable")[:SAMPLE_ROWS])
        self._keys, self.sample = keys[order], np.concatenate([self.sample, x])[order]

    @property
    def spread(self) -> Float32Array:
        """Float32 [in, in], `moments` in half of their memory: of wide matrices they weigh more than the weights."""
        drift = (self._totals[0] / self.count).astype(np.float32)
        spread: Float32Array = np.divide(self._products[0], np.float32(self.count), dtype=np.float32)
        spread -= np.outer(drift, drift)
        return spread

    @property
    def mean(self) -> Float32Array:
        """Float32 [in], the mean row."""
        return self.means[0].astype(np.float32)
