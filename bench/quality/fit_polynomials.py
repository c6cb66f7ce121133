"""Fits the polynomials of minibert/numerics.py anew, and says how near those that stand there are to the best.

    python bench/quality/fit_polynomials.py [--check]

Prints the minimax polynomials, found by the exchange algorithm of Remez, in the form that numerics.py has; and for the
integers of the softmax weights the best of their neighbourhood. With each comes its largest error, and that of the
constants which stand there: they were fitted by weighted least squares, come near to the best, and stay as they are,
for answers must keep their bits. `--check` fails if one is further from the best than it was when this was written.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from minibert import numerics

_POINTS = 20_001
_MOST_EXCHANGES = 60


class Fit(NamedTuple):
    """A polynomial that approximates a function.

    Attributes:
        name: that of the constant.
        function: float64 of float64 arguments.
        weight: errors are multiplied by it.
        interval: of arguments.
        near: how many times the smallest largest error the constant's may be.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    weight: Callable[[np.ndarray], np.ndarray]
    interval: tuple[float, float]
    near: float

    @property
    def present(self) -> tuple[float, ...]:
        """What stands in numerics.py, lowest power first."""
        return getattr(numerics, self.name)

    def arguments(self) -> np.ndarray:
        """Points of the interval, denser towards its ends."""
        low, high = self.interval
        return (low + high) / 2 - np.cos(np.linspace(0, np.pi, _POINTS)) * (high - low) / 2

    def error(self, coefficients: tuple[float, ...]) -> float:
        """The largest weighted error."""
        x = self.arguments()
        return float(np.abs(self.weight(x) * (Polynomial(coefficients)(x) - self.function(x))).max())


def _gelu_factor(x: np.ndarray) -> np.ndarray:
    """(Phi(x) - 1/2) / x: GELU is x (1/2 + x times this), so an error of it counts x**2 times."""
    x = np.maximum(x, 1e-9)
    return np.vectorize(math.erf)(x / math.sqrt(2)) / (2 * x)


def _gelu_argument(t: np.ndarray) -> np.ndarray:
    return numerics.GELU_BOUND * np.sqrt(np.maximum(t + 1, 0) / 2)


FITS = (
    Fit("EXP2_POLYNOMIAL", np.exp2, lambda t: 1 / np.exp2(t), (-0.5, 0.5), 1.001),
    Fit(
        "GELU_POLYNOMIAL",
        lambda t: _gelu_factor(_gelu_argument(t)),
        lambda t: np.maximum(_gelu_argument(t) ** 2, 1e-6),
        (-1.0, 1.0),
        1.27,
    ),
    Fit(
        "GELU_CODES_POLYNOMIAL",
        lambda square: _gelu_factor(np.sqrt(square)),
        lambda square: np.maximum(square, 1e-6),
        (0.0, numerics.GELU_CODES_BOUND**2),
        1.0001,
    ),
)
#: How many times the error of the best integers in their neighbourhood those of the softmax weights may make.
WEIGHTS_NEAR = 1.05


def minimax(fit: Fit) -> tuple[float, ...]:
    """The polynomial of the constant's degree whose largest weighted error is the smallest, lowest power first."""
    x = fit.arguments()
    value, weight = fit.function(x), fit.weight(x)
    count = len(fit.present) + 1
    coefficients = np.zeros(count - 1)
    low, high = fit.interval
    basis = np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), count - 2)
    signs = (-1.0) ** np.arange(count)
    reference = np.linspace(0, _POINTS - 1, count).round().astype(int)
    for _ in range(_MOST_EXCHANGES):
        equations = np.column_stack([basis[reference], signs / weight[reference]])
        coefficients = np.linalg.solve(equations, value[reference])[:-1]
        error = weight * (value - basis @ coefficients)
        # Of each stretch of one sign, where the error is largest; of more of them than are needed, the inner ones.
        stretches = np.split(np.arange(_POINTS), np.flatnonzero(np.diff(np.sign(error))) + 1)
        extremes = [int(each[np.abs(error[each]).argmax()]) for each in stretches]
        while len(extremes) > count:
            extremes.pop(0 if abs(error[extremes[0]]) < abs(error[extremes[-1]]) else -1)
        if len(extremes) < count or extremes == reference.tolist():
            break
        reference = np.array(extremes)
    found = Chebyshev(coefficients, domain=[low, high]).convert(kind=Polynomial)
    return tuple(float(each) for each in found.coef)


def weight_errors(second: np.ndarray, third: int, fourth: int) -> np.ndarray:
    """The largest relative error of 2**-t by the integers of WEIGHT_POLYNOMIAL, for each second one."""

    def product(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
        return (a * b + (1 << 14)) >> 15

    t = np.arange(numerics.DISTANCE_STEPS, dtype=np.int32) << (15 - numerics.DISTANCE_BITS)
    exact = numerics.WEIGHT_POLYNOMIAL[0] * np.exp2(-t / (1 << 15))
    inner = product(t, third - product(t, fourth))
    return np.abs((numerics.WEIGHT_POLYNOMIAL[0] - product(t, second[:, None] - inner)) / exact - 1).max(axis=1)


def best_weights() -> tuple[float, tuple[int, ...]]:
    """The least error of the integers about those of WEIGHT_POLYNOMIAL, and which make it."""
    first, *others = numerics.WEIGHT_POLYNOMIAL
    seconds, thirds, fourths = (
        np.arange(each - reach, each + reach + 1) for each, reach in zip(others, (6, 15, 9), strict=True)
    )
    best = (math.inf, (0, 0, 0, 0))
    for third in thirds.tolist():
        for fourth in fourths.tolist():
            errors = weight_errors(seconds.astype(np.int32), third, fourth)
            best = min(best, (float(errors.min()), (first, int(seconds[errors.argmin()]), third, fourth)))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a constant is further from the best than it was")
    options = parser.parse_args()
    wrong = []
    for fit in FITS:
        fitted = minimax(fit)
        least, found = fit.error(fitted), fit.error(fit.present)
        print(f"{fit.name} = (")
        for one, other in zip(fitted, fit.present, strict=True):
            print(f"    {one},{'' if np.float32(one) == np.float32(other) else f'  # stands there: {other}'}")
        print(f")  # largest error {least:.4g}; of what stands there {found:.4g}, {found / least:.5f} times that\n")
        if found > fit.near * least:
            wrong.append(fit.name)
    least, best = best_weights()
    _, second, third, fourth = numerics.WEIGHT_POLYNOMIAL
    found = float(weight_errors(np.array([second], np.int32), third, fourth)[0])
    print(f"WEIGHT_POLYNOMIAL = {best}  # stands there: {numerics.WEIGHT_POLYNOMIAL}")
    print(f"# largest error {least:.4g}; of what stands there {found:.4g}, {found / least:.5f} times that")
    if found > WEIGHTS_NEAR * least:
        wrong.append("WEIGHT_POLYNOMIAL")
    if options.check and wrong:
        print(f"further from the best than they were: {', '.join(wrong)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
