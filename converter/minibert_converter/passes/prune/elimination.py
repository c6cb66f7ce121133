"""Block after block is removed from rows of blocks, and the others make up for it: the compiled inner loop."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def eliminate(weights: np.ndarray, inverse: np.ndarray, metric: np.ndarray, columns: int) -> np.ndarray:
    """What each block costs at the time when it is the cheapest of its row.

    With K = H^-1 of the inputs that are left, removing the block b of W adds tr(G W_b (K_bb)^-1 W_b^T) / 2, and then
    W -= W_b (K_bb)^-1 K_b, and K -= K_b^T (K_bb)^-1 K_b.

    Args:
        weights: float32 [n, rows, in], rows of blocks.
        inverse: float32 [in, in], H^-1.
        metric: float32 [n, rows, rows], G of each.
        columns: inputs in a block.

    Returns:
        float64 [n, in / columns], the most that a removal has cost up to the block's own.
    """
    count, rows, inputs = weights.shape
    across = inputs // columns
    scores = np.empty((count, across))
    for n in range(count):
        left, other = weights[n].copy(), inverse.copy()
        alive = np.ones(across, np.bool_)
        highest = 0.0
        for _ in range(across):
            best, cheapest = -1, np.inf
            for block in range(across):
                if alive[block]:
                    cost = _cost(left, other, metric[n], block * columns, columns)
                    if best < 0 or cost < cheapest:
                        best, cheapest = block, cost
            highest = max(highest, cheapest)
            scores[n, best] = highest
            alive[best] = False
            # One input after another, which together is what removing the block at once does.
            for pivot in range(best * columns, (best + 1) * columns):
                scale = np.float32(1) / other[pivot, pivot]
                line = other[pivot] * scale
                for row in range(rows):
                    left[row] -= left[row, pivot] * line
                for block in range(across):
                    if alive[block] or block == best:
                        for row in range(block * columns, (block + 1) * columns):
                            if row != pivot:
                                other[row] -= other[row, pivot] * line
    return scores


@numba.njit(nogil=True, cache=True)
def _cost(left: np.ndarray, other: np.ndarray, metric: np.ndarray, first: int, columns: int) -> float:
    """tr(G W_b (K_bb)^-1 W_b^T) / 2 by the Cholesky factor L of K_bb: with Z L^T = W_b it is tr(G Z Z^T) / 2."""
    rows = len(left)
    factor = np.empty((columns, columns), np.float32)
    solved = np.empty((rows, columns), np.float32)
    for i in range(columns):
        for j in range(i + 1):
            value = other[first + i, first + j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                factor[i, i] = np.sqrt(max(value, np.float32(1e-20)))
            else:
                factor[i, j] = value / factor[j, j]
        for row in range(rows):
            value = left[row, first + i]
            for k in range(i):
                value -= solved[row, k] * factor[i, k]
            solved[row, i] = value / factor[i, i]
    total = 0.0
    for row in range(rows):
        for also in range(rows):
            dot = np.float32(0)
            for k in range(columns):
                dot += solved[row, k] * solved[also, k]
            total += metric[row, also] * dot
    return total / 2
