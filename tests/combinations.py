"""What a test goes through when there are many instruction sets and many combinations; the others are slow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest

from minibert.engine.cpu import supported_isas

_SUPPORTED = supported_isas()
#: The best instruction set of this machine, and plain code. What stands between them takes a quarter of a minute each
#: to compile, and goes through the same tests where the slow ones are run.
DEFAULT_ISAS = [name for name in _SUPPORTED if name in (_SUPPORTED[0], _SUPPORTED[-1])]
#: All of them, for a parameter.
ISAS = [name if name in DEFAULT_ISAS else pytest.param(name, marks=pytest.mark.slow) for name in _SUPPORTED]


def in_pairs(**values: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by all combinations, of which so many are not slow that any two values meet in one of them.

    Args:
        values: of each parameter. `isa` and `kernels`, which are fixtures, get the instruction sets if they have none.
    """
    lists = {name: list(each) or _SUPPORTED for name, each in values.items()}
    met: set[tuple[tuple[int, int], ...]] = set()
    chosen = set()
    # Numbers of values, since a NaN is equal to none. In a random order few combinations meet most pairs; a fixed one,
    # since all workers must collect the same tests.
    everything = list(itertools.product(*(range(len(each)) for each in lists.values())))
    fixtures = [name for name in lists if name in ("isa", "kernels")]
    usual = [
        numbers
        for numbers in everything
        if all(
            lists[name][number] in DEFAULT_ISAS for name, number in zip(lists, numbers, strict=True) if name in fixtures
        )
    ]
    for numbers in random.Random(0).sample(usual, len(usual)):
        pairs = set(itertools.combinations(enumerate(numbers), 2))
        if not pairs <= met:
            met |= pairs
            chosen.add(numbers)
    cases = [
        pytest.param(
            *(each[number] for each, number in zip(lists.values(), numbers, strict=True)),
            marks=() if numbers in chosen else pytest.mark.slow,
        )
        for numbers in everything
    ]
    return pytest.mark.parametrize(tuple(lists), cases, indirect=fixtures)
