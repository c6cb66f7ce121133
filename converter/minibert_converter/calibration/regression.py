"""Least squares on calibration rows: what a matrix should be, given what it reads and what it should return."""

from __future__ import annotations

import numpy as np

from minibert_converter.network import Float32Array

#: What holds a fit where few texts have shown anything: the part of the mean of the second moments' diagonal that is
#: added to it.
DAMPING = 0.01


def damping_of(moments: np.ndarray, part: float = DAMPING) -> float:
    """What to add to the diagonal of second moments; 1 where nothing ever changes."""
    return part * np.diag(moments).mean() or 1.0


class Regression:
    """Moments of y ~ W x + b over rows that come in chunks, in memory that does not grow with them.

    They are summed about the first chunk's means: a channel far from zero would lose its variance to float32 otherwise.

    Attributes:
        count: rows seen.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origins: tuple[np.ndarray, ...] = ()
        self._totals: list[np.ndarray] = []
        self._products: list[np.ndarray] = []

    def add(self, x: Float32Array, y: Float32Array | None = None) -> None:
        """Takes in inputs float32 [n, in] and what should become of them, float32 [n, out]; without y for moments."""
        targets = x[:, :0] if y is None else y
        if not self.count:
            self._origins = x.mean(axis=0), targets.mean(axis=0)
            self._totals = [np.zeros(x.shape[1]), np.zeros(targets.shape[1])]
            self._products = [np.zeros((rows, x.shape[1]), np.float32) for rows in (x.shape[1], targets.shape[1])]
        x, targets = x - self._origins[0], targets - self._origins[1]
        self.count += len(x)
        for total, product, rows in zip(self._totals, self._products, (x, targets), strict=True):
            total += rows.sum(axis=0, dtype=np.float64)
            product += rows.T @ x

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 [in] and [out], of x and y."""
        x, y = (origin + total / self.count for origin, total in zip(self._origins, self._totals, strict=True))
        return x, y

    @property
    def moments(self) -> np.ndarray:
        """float64 [in, in], H: the mean of (x - mean)(x - mean)^T."""
        return self._about_means(0)

    @property
    def products(self) -> np.ndarray:
        """float64 [out, in], the mean of (y - mean)(x - mean)^T."""
        return self._about_means(1)

    def bias(self, weight: np.ndarray) -> Float32Array:
        """float32 [out], the best b for a given W [out, in]."""
        x, y = self.means
        return (y - weight @ x).astype(np.float32)

    def fit(self, weight: np.ndarray, kept: np.ndarray | None = None, damping: float = DAMPING) -> Float32Array:
        """The W that minimises E|W x + b - y|^2 + damping E|x|^2 / in |W - weight|^2: float32 [out, in].

        Args:
            weight: [out, in], what W should stay close to.
            kept: bool [out, in], entries of W that may be other than zero; None for all.
            damping: how close.
        """
        moments = self.moments
        strength = damping_of(moments, damping)
        moments += strength * np.eye(len(moments))
        products = self.products + strength * weight
        if kept is None:
            return np.linalg.solve(moments, products.T).T.astype(np.float32)
        return masked_solution(moments.astype(np.float32), products.astype(np.float32), weight, kept)

    def _about_means(self, which: int) -> np.ndarray:
        drifts = [total / self.count for total in self._totals]
        moments = self._products[which].astype(np.float64)
        moments /= self.count
        moments -= np.outer(drifts[which], drifts[0])
        return moments


#: Steps of conjugate gradients, at most, and the part of the residual at which they end.
_STEPS, _ENOUGH = 30, 1e-3


def masked_solution(moments: Float32Array, products: Float32Array, start: np.ndarray, kept: np.ndarray) -> Float32Array:
    """The W with W H = C in every entry that is kept, and zero elsewhere: each row has a system of its own.

    Conjugate gradients for all rows at once, since the rows' systems are corners of one H: a step is one product with
    it, where factorizing each corner would cost as much as hundreds of steps.

    Args:
        moments: float32 [in, in], H, positive definite.
        products: float32 [out, in], C.
        start: float32 [out, in], where to start from.
        kept: bool [out, in].

    Returns:
        float32 [out, in].
    """
    scale = 1 / np.diag(moments)
    solution = np.where(kept, start, np.float32(0))
    residual = np.where(kept, products - solution @ moments, np.float32(0))
    direction = residual * scale
    square = first = (residual * direction).sum(axis=1, keepdims=True)
    for _ in range(_STEPS):
        if (square <= _ENOUGH**2 * first).all():
            break
        image = np.where(kept, direction @ moments, np.float32(0))
        step = square / np.maximum((direction * image).sum(axis=1, keepdims=True), np.float32(1e-30))
        solution += step * direction
        residual -= step * image
        scaled = residual * scale
        before, square = square, (residual * scaled).sum(axis=1, keepdims=True)
        direction = scaled + square / np.maximum(before, np.float32(1e-30)) * direction
    return solution
