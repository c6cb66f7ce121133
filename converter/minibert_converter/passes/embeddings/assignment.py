"""Which centre each point is nearest to: the compiled inner loop of clustering."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nnan", "nsz"})
def assign(points: np.ndarray, centres: np.ndarray, half_squares: np.ndarray, codes: np.ndarray) -> None:
    """Writes the number of the nearest centre of each point; the first of equally near ones.

    Args:
        points: float32 [n, d].
        centres: float32 [d, k], one a column, so that loops over them run along memory.
        half_squares: float32 [k], half of their squared lengths.
        codes: int64 [n], what is written.
    """
    size, count = centres.shape
    distances = np.empty(count, np.float32)
    for n in range(len(points)):
        for k in range(count):
            distances[k] = half_squares[k]
        for j in range(size):
            value = points[n, j]
            for k in range(count):
                distances[k] -= value * centres[j, k]
        # The least, then where it is: two loops that become vectors, where one that does both would not.
        least = distances[0]
        for k in range(count):
            least = min(least, distances[k])
        first = count
        for k in range(count):
            first = min(first, k if distances[k] == least else count)
        codes[n] = first
