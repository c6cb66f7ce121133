"""The factor of each input channel that makes int8 lose the least: outliers of activations migrated into the weights.

Multiplying input channel j by f_j and dividing the weights' column by it changes no product, but moves the loss of
rounding between the two (SmoothQuant, arXiv 2211.10438, which sets f from the largest entries and one exponent). Here f
is found by descent on the loss itself. A row of activations, which spans from low to high, has 252 steps between them,
a row of weights 127 up to its largest. With rounding errors uniform and independent, the mean squared error of an
output row is proportional to

    L(f) = A B + r C D      A = mean over rows x of (high - low of f x)^2 / 4  (step of the activations)
                            B = sum over j of |W_j|^2 / f_j^2                  (what multiplies their rounding error)
                            C = sum over outputs n of max_j (W_nj / f_j)^2     (steps of the weights)
                            D = sum over j of f_j^2 E[x_j^2]                   (what multiplies their rounding error)

where r < 1 is the part of the weights' error that error-compensated rounding leaves.
"""

from __future__ import annotations

import numpy as np

from minibert_converter.network import Float32Array

#: Error-compensated rounding leaves about this part of the weights' rounding error (measured on MiniLM).
_WEIGHT_SHARE = 0.4
#: With 200 steps the loss of MiniLM's matrices is 0.02% less, for three times the time.
_STEPS = 60
_RATE = 0.07
#: Numbers that are multiplied and looked through at once: they stay in a second-level cache.
_IN_CACHE = 1 << 17
#: Exponent of SmoothQuant's rule for the start; larger than its 0.5, since that is where the descent tends to.
_START_EXPONENT = 0.6
#: No factor leaves this range around the start of all: keeps f and 1/f far from float32's limits.
_RANGE = 1e4


def input_factors(weight: Float32Array, rows: Float32Array) -> Float32Array:
    """The factor of each input of a matrix, by descent on the loss from SmoothQuant's rule.

    Args:
        weight: float32 [out, in].
        rows: float32 [n, in], inputs that the matrix sees.

    Returns:
        float32 [in], positive, with geometric mean 1 over the channels in use; 1 where a channel or its weights are
        always zero.
    """
    columns = np.abs(weight)
    used = rows.any(axis=0) & (columns.max(axis=0, initial=0) > 0)
    factor = np.ones(weight.shape[1], np.float32)
    if used.any():
        if not used.all():
            # Contiguous rows, as selecting columns does not leave them: finding their largest entries is most of the
            # work.
            columns, rows = np.ascontiguousarray(columns[:, used]), np.ascontiguousarray(rows[:, used])
        factor[used] = _descend(columns, rows)
    return factor


def smoothquant_factors(columns: Float32Array, inputs: Float32Array, exponent: float = 0.5) -> Float32Array:
    """SmoothQuant's rule: max|W_j|^(1 - a) / max|x_j|^a, scaled to geometric mean 1.

    Args:
        columns: float32 [out, in], magnitudes of the weights, no column all zero.
        inputs: float32 [n, in], no column all zero.
        exponent: a, the share of the difficulty that moves to the weights.
    """
    logarithm = (1 - exponent) * np.log(columns.max(axis=0)) - exponent * np.log(np.abs(inputs).max(axis=0))
    logarithm -= logarithm.mean()
    return np.exp(np.clip(logarithm, -np.log(_RANGE), np.log(_RANGE)))


class Loss:
    """L(f) of the module's docstring for one matrix, and its gradient.

    Args:
        columns: float32 [out, in], magnitudes of the weights.
        inputs: float32 [n, in].
    """

    def __init__(self, columns: Float32Array, inputs: Float32Array) -> None:
        self._columns = columns
        self._inputs = inputs
        self._weight_energy = np.einsum("nj,nj->j", columns, columns)
        self._input_energy = np.einsum("nj,nj->j", inputs, inputs) / len(inputs)

    def __call__(self, factor: Float32Array) -> tuple[float, Float32Array]:
        """The loss with a factor, float32 [in]; and the gradient by its logarithm, divided by the loss."""
        highest, high, lowest, low = _extremes(self._inputs, factor)
        half = (np.maximum(high, 0) - np.minimum(low, 0)) / 2
        heaviest, largest = _extremes(self._columns, np.reciprocal(factor), smallest=False)
        steps, size = np.square(largest), factor.size

        a = np.square(half).mean()
        a_gradient = np.bincount(highest, half * np.maximum(high, 0), size)
        a_gradient = (a_gradient - np.bincount(lowest, half * np.minimum(low, 0), size)) / (2 * len(self._inputs))
        b_gradient = self._weight_energy / np.square(factor)
        c, c_gradient = steps.sum(), np.bincount(heaviest, steps, size)
        d_gradient = self._input_energy * np.square(factor)
        b, d = b_gradient.sum(), d_gradient.sum()
        value = a * b + _WEIGHT_SHARE * c * d
        gradient = a_gradient * b - a * b_gradient + _WEIGHT_SHARE * (c * d_gradient - c_gradient * d)
        return float(value), (2 * gradient / value).astype(np.float32)


def _extremes(rows: Float32Array, factor: Float32Array, smallest: bool = True) -> tuple[np.ndarray, ...]:
    """Of each row times the factor: where the largest entry is, the entry; and where the smallest is, the entry."""
    found = []
    together = max(1, _IN_CACHE // rows.shape[1])
    for first in range(0, len(rows), together):
        scaled = rows[first : first + together] * factor
        number = np.arange(len(scaled))
        places = [scaled.argmax(axis=1), scaled.argmin(axis=1)][: 1 + smallest]
        found.append([each for place in places for each in (place, scaled[number, place])])
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def _descend(columns: Float32Array, inputs: Float32Array) -> Float32Array:
    """Adam (arXiv 1412.6980) on log f with a falling rate; the best f met."""
    position = np.log(smoothquant_factors(columns, inputs, _START_EXPONENT))
    momentum, square = np.zeros_like(position), np.zeros_like(position)
    best, best_value = position, np.inf
    loss = Loss(columns, inputs)
    for step in range(1, _STEPS + 1):
        value, gradient = loss(np.exp(position))
        if value < best_value:
            best, best_value = position, value
        momentum = 0.9 * momentum + 0.1 * gradient
        square = 0.99 * square + 0.01 * np.square(gradient)
        rate = _RATE * (1.02 - step / _STEPS)
        direction = (momentum / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        position = np.clip(position - rate * direction, -np.log(_RANGE), np.log(_RANGE)).astype(np.float32)
    return np.exp(best - best.mean()).astype(np.float32)
