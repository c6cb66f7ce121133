"""Multinomial logistic regression in NumPy: the classifier that is fitted to frozen vectors.

It minimizes what scikit-learn's LogisticRegression does, by L-BFGS (Liu and Nocedal 1989, doi 10.1007/BF01589116): the
mean of the texts' losses, and a penalty on the squares of the weights, but not of the biases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minibert.tuples import NamedTuple

#: Pairs of steps and changes of the gradient that L-BFGS remembers.
_MEMORY = 10
#: The largest number of a gradient that counts as none, of the mean loss: scikit-learn's default.
TOLERANCE = 1e-4
#: Iterations, at most.
MAX_ITERATIONS = 500
#: Share of the decrease that a gradient promises which a step must bring, and how often one is halved.
_ARMIJO, _HALVINGS = 1e-4, 30
#: What is lost of a sum in float32.
_ROUNDING = 1e-7


class Regression(NamedTuple):
    """A linear classifier: logits are `vectors @ weight.T + bias`.

    Attributes:
        weight: float32 [classes, dim].
        bias: float32 [classes].
        iterations: of L-BFGS.
        converged: whether the gradient became as small as asked for.
    """

    weight: np.ndarray
    bias: np.ndarray
    iterations: int
    converged: bool

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [n, dim] to float32 [n, classes]."""
        return vectors @ self.weight.T + self.bias


def fit(
    vectors: np.ndarray,
    classes: np.ndarray,
    count: int,
    *,
    C: float = 1.0,
    weights: np.ndarray | None = None,
) -> Regression:
    """The classifier that is most probable by its examples and the penalty.

    Args:
        vectors: float32 [n, dim].
        classes: intp [n], from 0 to `count` - 1.
        count: classes, two at least.
        C: how much the examples count against the penalty, as in scikit-learn.
        weights: float [n], what each example counts; None for 1.

    Returns:
        The classifier. Of two classes it is the one that scikit-learn finds, whose one row of weights is the difference
        of the two here.
    """
    share = np.full(len(vectors), 1 / len(vectors)) if weights is None else weights / weights.sum()
    total = float(len(vectors) if weights is None else weights.sum())
    # The two rows of two classes are each other's negative, and have half the squares of their difference.
    penalty = (2 if count == 2 else 1) / (C * total)
    dim = vectors.shape[1]
    center = share @ vectors  # about it weights and biases hardly depend on each other, and fewer iterations are needed
    vectors = (vectors - center).astype(np.float32)
    rows = np.arange(len(vectors))
    share32 = share.astype(np.float32)[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(count, dim + 1)
        weight = both[:, :dim]
        logits = vectors @ weight.T.astype(np.float32)
        logits += both[:, dim].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        right = logits[rows, classes].astype(np.float64)
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1, keepdims=True)
        value = float(share @ (np.log(sums[:, 0].astype(np.float64)) - right)) + penalty / 2 * float((weight**2).sum())
        logits *= share32 / sums
        logits[rows, classes] -= share32[:, 0]
        slope = np.empty((count, dim + 1))
        slope[:, :dim] = logits.T @ vectors
        slope[:, :dim] += penalty * weight
        slope[:, dim] = logits.sum(axis=0, dtype=np.float64)
        return value, slope.reshape(-1)

    # Always from nothing: elsewhere there may be no slope that counts, either, with much C and examples told apart.
    found, iterations, converged = _minimized(loss, np.zeros(count * (dim + 1)))
    both = found.reshape(count, dim + 1)
    bias = both[:, dim] - both[:, :dim] @ center
    return Regression(both[:, :dim].astype(np.float32), (bias - bias.mean()).astype(np.float32), iterations, converged)


def _minimized(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]], point: np.ndarray
) -> tuple[np.ndarray, int, bool]:
    """Where a convex function has no slope, how many iterations it took to find that, and whether it was found."""
    value, slope = loss(point)
    steps: list[tuple[np.ndarray, np.ndarray, float]] = []
    for iteration in range(MAX_ITERATIONS):
        if np.abs(slope).max() <= TOLERANCE:
            return point, iteration, True
        direction = -_by_memory(slope, steps)
        promised = float(direction @ slope)
        # The first step has no curvature to go by: as long as one number at most.
        size = 1.0 if steps else min(1.0, 1 / float(np.abs(slope).sum()))
        for _ in range(_HALVINGS):
            new_value, new_slope = loss(point + size * direction)
            if new_value <= value + _ARMIJO * size * promised + _ROUNDING * abs(value):
                break
            size /= 2
        else:
            return point, iteration, False
        step, change = size * direction, new_slope - slope
        curvature = float(step @ change)
        if curvature > 1e-12 * float(change @ change):
            steps = [*steps[-_MEMORY + 1 :], (step, change, curvature)]
        point, value, slope = point + step, new_value, new_slope
    return point, MAX_ITERATIONS, False


def _by_memory(slope: np.ndarray, steps: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """The slope multiplied by what the last steps say of the inverse of the second derivatives."""
    result = slope.copy()
    shares = []
    for step, change, curvature in reversed(steps):
        shares.append(float(step @ result) / curvature)
        result -= shares[-1] * change
    if steps:
        _, change, curvature = steps[-1]
        result *= curvature / float(change @ change)
    for (step, change, curvature), share in zip(steps, reversed(shares), strict=True):
        result += (share - float(change @ result) / curvature) * step
    return result


def folds_of(classes: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The number of the fold that each example is of, the examples of each class spread evenly: intp [n].

    Args:
        classes: intp [n].
        folds: how many.
        seed: of the order in which a class's examples are dealt.
    """
    random = np.random.default_rng(seed)
    fold = np.empty(len(classes), np.intp)
    dealt = 0
    for each in np.unique(classes):
        places = random.permutation(np.flatnonzero(classes == each))
        fold[places] = (dealt + np.arange(len(places))) % folds
        dealt += len(places)
    return fold
