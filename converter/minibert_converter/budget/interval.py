"""What a score on some examples says of examples that nobody has seen: an interval of the part that is kept.

A file and the float32 model answer the same examples, so that what is hard about them moves both alike. The part of the
score that is kept is taken with each of some groups of examples left out, and by how far these differ one knows how far
other examples would move it: the jackknife (Quenouille 1956, Tukey 1958) with groups. No example need be kept from the
search, as nothing is fitted to them: forms are chosen by how far answers to calibration texts move, labels unread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

#: How sure the interval is: with so much probability it covers what is kept on examples like these.
CONFIDENCE = 0.95
#: Fewer examples than this are called few: where hardly an answer changes, they cannot show how many do.
FEW = 200


class Score(NamedTuple):
    """A score on all examples, and without each group of them, as `minibert.evaluate.spread` has it."""

    whole: float
    without: tuple[float, ...] = ()
    examples: int = 0

    @classmethod
    def of(cls, value: Any) -> Score:
        """What a scorer returned, or what was kept of it as JSON: a number is a score that nothing is left out of."""
        if isinstance(value, (int, float)):
            return cls(float(value))
        whole, without, examples = value
        return cls(float(whole), tuple(without), int(examples))


class Kept(NamedTuple):
    """The part of the float32 model's score that a file keeps.

    Attributes:
        part: on the examples.
        least: the lower end of the interval for examples that nobody has seen; `part` where there is no interval.
        most: its upper end.
        examples: that it was taken on; 0 where there is no interval.
    """

    part: float
    least: float
    most: float
    examples: int = 0

    def __str__(self) -> str:
        if not self.examples:
            return f"{self.part:.2%}"
        interval = f"{CONFIDENCE:.0%} interval {self.least:.2%} to {self.most:.2%}"
        return f"{self.part:.2%} ({interval}, from {'only ' * (self.examples < FEW)}{self.examples:,} examples)"

    def to_json(self) -> dict[str, Any]:
        """The same, as plain JSON values; no interval where there is none."""
        if not self.examples:
            return {"part": self.part, "interval": None}
        return {
            "part": self.part,
            "interval": [self.least, self.most],
            "confidence": CONFIDENCE,
            "examples": self.examples,
        }


def kept(score: Score, full: Score) -> Kept | None:
    """The part of a full score that a score is, and its interval; None of a full score that is not above 0."""
    if not full.whole > 0:
        return None
    part = score.whole / full.whole
    groups = len(score.without)
    if groups < 2 or groups != len(full.without) or min(full.without) <= 0:
        return Kept(part, part, part)
    ratios = np.array(score.without) / np.array(full.without)
    error = math.sqrt((groups - 1) / groups * float(np.square(ratios - ratios.mean()).sum()))
    reach = _students_t(groups - 1) * error
    return Kept(part, part - reach, part + reach, score.examples)


def _students_t(degrees: int) -> float:
    """How many standard errors the 95 % interval reaches: Cornish and Fisher's series of Student's distribution."""
    normal = 1.959964
    terms: Sequence[float] = (
        normal,
        (normal**3 + normal) / 4,
        (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96,
        (3 * normal**7 + 19 * normal**5 + 17 * normal**3 - 15 * normal) / 384,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))
