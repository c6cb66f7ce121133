"""Two lists of answers, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Scores and vectors may be so far apart.
TOLERANCE = 1e-4


@dataclass
class Row:
    """One comparison.

    Attributes:
        name: what was compared.
        texts: how many answers.
        differ: answers whose fields, order or number differ, or whose scores are further apart than TOLERANCE.
        explained: others that differ as docs/TASKS.md says.
        worst: largest difference of scores among those that agree.
        shown: the first that differ.
    """

    name: str
    texts: int = 0
    differ: int = 0
    explained: int = 0
    worst: float = 0.0
    shown: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        documented = f", {self.explained} as documented" if self.explained else ""
        line = f"{self.name:44} {self.texts:4} texts, {self.differ} differ{documented}; scores within {self.worst:.1e}"
        return "\n  ".join([line, *self.shown])


def compare(
    name: str,
    items: Sequence[Any],
    made: Iterable[Any],
    wanted: Iterable[Any],
    explained: Callable[[Any], bool] = lambda item: False,
) -> Row:
    """A row: `made` is minibert's, `wanted` the other's; `explained` says whether an item may differ."""
    row = Row(name)
    for item, one, other in zip(items, made, wanted, strict=True):
        apart = distance(one, other)
        row.texts += 1
        if apart <= TOLERANCE:
            row.worst = max(row.worst, apart)
        elif explained(item):
            row.explained += 1
        else:
            row.differ += 1
            if len(row.shown) < 3:
                row.shown.append(f"{item!r:.100}\n    minibert {one!r:.300}\n    other    {other!r:.300}")
    return row


def distance(one: Any, other: Any) -> float:
    """The largest difference of numbers; infinite if anything else differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        if set(one) != set(other):
            return float("inf")
        return max((distance(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return float("inf")
        return max((distance(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, (float, np.floating, np.ndarray)):
        if np.shape(one) != np.shape(other):
            return float("inf")
        return float(np.max(np.abs(np.asarray(one) - np.asarray(other)), initial=0.0))
    return 0.0 if one == other else float("inf")
