"""One matrix for several, and the small differences that are left, fitted to what the matrices read.

Of a matrix only what it does to its inputs counts: E|(W - W_l) x_l|^2 = tr (W - W_l) H_l (W - W_l)^T, where H_l are the
second moments of the inputs about their mean, which the bias looks after. The best W is a least-squares problem;
the best difference of some rank keeps the directions in which the outputs of W_l - W vary most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minibert_converter.calibration.regression import damping_of
from minibert_converter.network import Float32Array


def shared_weight(weights: Sequence[Float32Array], moments: Sequence[np.ndarray]) -> Float32Array:
    """The W with the least sum of E|(W - W_l) x_l|^2 over all l, each relative to what W_l returns.

    Args:
        weights: float32 [out, in], W_l.
        moments: float64 [in, in], H_l.

    Returns:
        float32 [out, in].
    """
    total, right = np.zeros_like(moments[0]), np.zeros(weights[0].shape)
    for weight, moment in zip(weights, moments, strict=True):
        damped = _damped(moment) / max(float(((weight @ moment) * weight).sum()), 1e-30)
        total += damped
        right += weight @ damped
    return np.linalg.solve(total, right.T).T.astype(np.float32)


def low_rank_difference(difference: Float32Array, moments: np.ndarray, rank: int) -> tuple[Float32Array, Float32Array]:
    """A and B of the rank given with the least E|(D - A B) x|^2.

    A's columns are the directions in which D x varies most (principal components of outputs), and B = A^T D.

    Args:
        difference: float32 [out, in], D.
        moments: float64 [in, in], the second moments of x.
        rank: columns of A.

    Returns:
        A float32 [out, rank] and B float32 [rank, in].
    """
    _, directions = np.linalg.eigh(difference @ _damped(moments) @ difference.T)
    first = directions[:, : -rank - 1 : -1]
    return first.astype(np.float32), (first.T @ difference).astype(np.float32)


def relative_error(lost: Float32Array, weight: Float32Array, moments: np.ndarray) -> float:
    """Root of E|lost x|^2 over E|weight x|^2."""
    power = float(((weight @ moments) * weight).sum())
    return float(np.sqrt(max(float(((lost @ moments) * lost).sum()), 0.0) / power)) if power > 0 else 0.0


def _damped(moments: np.ndarray) -> np.ndarray:
    return moments + damping_of(moments) * np.eye(len(moments))
