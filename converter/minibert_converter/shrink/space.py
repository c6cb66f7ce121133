"""Which students are worth a training: shapes that fill a budget, ordered by what they promise before all training.

The order is only a start: of the shapes ahead the trainings themselves choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from minibert.format.constants import LANES
from minibert_converter.shrink.student import LEAST_DENSITY, Cutter, Student

#: Parts of the teacher's layers, features and dimensions of words that students have.
_LAYERS = (1.0, 2 / 3, 1 / 2, 1 / 3)
_HIDDEN = (1.0, 2 / 3, 1 / 2, 1 / 3)
#: Layers in a row that may share their matrices.
_TURNS = (1, 2, 3)
_RANKS = (0.0, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8)
#: Of the tokens that the texts use, the part that is the least vocabulary.
_FEWEST_WORDS = 0.6
#: What a promise counts, in logarithms: weights that are left; features; layers; dimensions of words; and what it costs
#: to train all the weights that there were.
_WEIGHTS, _FEATURES, _DEPTH, _WORDS, _COST = 1.0, 0.4, 0.2, 0.5, 0.5
#: What it costs if all words have to be spelled: a hundredth of them, as much as a tenth of the weights.
_SPELLING = 10.0
#: Below this part of the blocks, each halving costs so much more; and what it costs that words, or weights, are int4.
_SPARSE, _SPARSER, _FOUR_BITS = 0.2, 0.5, 0.1
#: The smallest size of a ladder is so much above that of the smallest student, which hardly has a block left.
_ABOVE = 1.25


def proposals(cutter: Cutter, fits: Callable[[int, float], bool], count: int) -> list[Student]:
    """Shapes that fill a budget, what promises most first, different ones before variants of the same.

    Args:
        cutter: of students.
        fits: whether so many bytes and such a part of the time are within the budget.
        count: how many at most.
    """
    found = [filled for shape in _shapes(cutter) if (filled := cutter.filled(shape, fits)) is not None]
    found.sort(key=lambda student: -promise(cutter, student))
    best: dict[tuple[int, int, int], Student] = {}
    for student in found:
        best.setdefault((student.layers, student.hidden, student.turns), student)
    first = list(best.values())
    others = [student for student in found if student not in first]
    return [*first, *others][:count]


def ladder(cutter: Cutter, fits: Callable[[int, float], bool], count: int) -> list[int]:
    """Sizes in bytes at even ratios, from a little above the smallest student that there is to the largest.

    Args:
        cutter: of students.
        fits: whether so many bytes and such a part of the time are within the budget.
        count: how many at most.
    """
    shapes = list(_shapes(cutter))
    largest = max((cutter.bytes(one) for each in shapes if (one := cutter.filled(each, fits)) is not None), default=0)
    sparsest = (replace(each, density=LEAST_DENSITY) for each in shapes)
    smallest = min(
        (cutter.bytes(each) for each in sparsest if fits(cutter.bytes(each), cutter.latency(each))), default=0
    )
    if not largest or not smallest:
        return []
    ratio = max(largest / (_ABOVE * smallest), 1.0) ** (1 / max(count - 1, 1))
    return sorted({round(largest / ratio**step) for step in range(count)})


def promise(cutter: Cutter, student: Student) -> float:
    """What a shape lets one hope for; only differences mean something."""
    weights = sum(each.weights for each in cutter.matrices(student))
    shape = cutter.shape
    features = student.hidden / shape.hidden_size
    value = _WEIGHTS * math.log(weights * student.density) - _COST * math.log(weights * student.turns)
    value += _FEATURES * math.log(features) + _DEPTH * math.log(student.layers / len(shape.layers))
    value += _WORDS * math.log(min(student.rank or student.hidden, shape.hidden_size / 3))
    value -= _SPARSER * max(math.log(_SPARSE / student.density), 0.0)
    value -= _FOUR_BITS * ((student.words == "int4") + (student.bits == "int4"))
    return value - _SPELLING * cutter.spelled(student.vocab)


def _shapes(cutter: Cutter) -> Iterator[Student]:
    shape, teacher = cutter.shape, cutter.teacher
    depths = sorted({max(round(part * len(shape.layers)), 1) for part in _LAYERS}, reverse=True)
    step = LANES * max(1, round(shape.hidden_size / LANES / 24))
    widths = {shape.hidden_size}
    # Without a head nothing can take narrower rows for what the teacher's were.
    if shape.head and not teacher.aliases and not shape.embedding_size and not shape.word_size:
        widths |= {max(round(part * shape.hidden_size / step), 1) * step for part in _HIDDEN}
    shared = bool(teacher.aliases)
    used, every = len(cutter.used), shape.vocab_size
    # The most frequent words of the texts, all of them, half of those that they do not use, and every word there is.
    vocabularies = sorted({math.ceil(_FEWEST_WORDS * used), used, (used + every) // 2, every})
    for layers, hidden, turns in product(depths, sorted(widths, reverse=True), _TURNS):
        if layers % turns or (shared and (turns > 1 or layers < len(shape.layers))):
            continue
        ranks = {round(part * shape.hidden_size / LANES) * LANES for part in _RANKS}
        for rank, words, bits, vocab in product(sorted(ranks), ("int8", "int4"), ("int8", "int4"), vocabularies):
            if rank < hidden and not (rank and (shape.embedding_size or shape.word_size)):
                yield Student(layers, hidden, vocab, rank, words, 1.0, bits, turns)
