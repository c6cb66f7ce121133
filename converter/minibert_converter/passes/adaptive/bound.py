"""How often something happens at most that happened so often in a sample: Clopper, Pearson, Biometrika 26(4), 1934."""

from __future__ import annotations

import math

#: Halvings of an interval of length 1: to the last bit of a probability that is not tiny.
_HALVINGS = 60


def at_most(happened: int, drawn: int, probability: float) -> float:
    """The probability that of `drawn` independent cases, each of one probability, no more than `happened` happen."""
    if probability <= 0 or happened >= drawn:
        return 1.0
    if probability >= 1:
        return 0.0
    yes, no = math.log(probability), math.log1p(-probability)
    whole = math.lgamma(drawn + 1)
    terms = (
        whole - math.lgamma(k + 1) - math.lgamma(drawn - k + 1) + k * yes + (drawn - k) * no
        for k in range(happened + 1)
    )
    return min(math.fsum(map(math.exp, terms)), 1.0)


def upper_bound(happened: int, drawn: int, confidence: float) -> float:
    """The least probability that a sample rules out: whatever the true one is, it lies below with this confidence.

    Args:
        happened: cases of the sample in which it happened.
        drawn: cases of the sample.
        confidence: above 0, below 1.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at_most(happened, drawn, middle) <= 1 - confidence else (middle, high)
    return high


def least_sample(share: float, confidence: float) -> int:
    """Cases without a single event that it takes to rule out a share from 0 to 1, both excluded."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-share))
