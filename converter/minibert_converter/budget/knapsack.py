"""Choosing one option for each item so that all together weigh little and lose little; a weight is bytes, or time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Option:
    """One way to store an item: what it weighs, and what that loses."""

    name: str
    weight: float
    loss: float


@dataclass(frozen=True)
class Choice:
    """An option for every item, with the sums of their weights and losses."""

    options: Mapping[str, str]
    weight: float
    loss: float


def frontier(items: Mapping[str, Sequence[Option]]) -> list[Choice]:
    """Choices from the heaviest to the lightest, each the least loss for its weight.

    Each item steps along the lower convex hull of its options; all steps of all items are taken in the order of loss
    per weight saved. This is the solution of the knapsack's Lagrangian for every multiplier (Everett 1963): what lies
    between two neighbouring choices could be better by at most one step of one item.

    Args:
        items: by name, the options there are, one at least.
    """
    steps = []
    now: dict[str, Option] = {}
    for name, options in items.items():
        hull = _hull(options)
        now[name] = hull[0]
        for rank, (heavy, light) in enumerate(pairwise(hull)):
            price = (light.loss - heavy.loss) / (heavy.weight - light.weight)
            steps.append((price, rank, name, light))
    choices = [_choice(now)]
    for _, _, name, option in sorted(steps, key=lambda step: step[:3]):
        now[name] = option
        choices.append(_choice(now))
    return choices


def _hull(options: Sequence[Option]) -> list[Option]:
    """The options from heavy to light that no other, and no mixture of two others, beats."""
    hull: list[Option] = []
    for option in sorted(options, key=lambda each: (each.loss, each.weight, each.name)):
        if hull and option.weight >= hull[-1].weight:
            continue
        while len(hull) >= 2 and _price(hull[-2], hull[-1]) >= _price(hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _price(heavy: Option, light: Option) -> float:
    return (light.loss - heavy.loss) / (heavy.weight - light.weight)


def _choice(now: Mapping[str, Option]) -> Choice:
    options = {name: option.name for name, option in now.items()}
    return Choice(options, sum(option.weight for option in now.values()), sum(option.loss for option in now.values()))
