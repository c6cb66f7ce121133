"""Which directions of a word's row its network's answers depend on: the metric in which codebooks are fitted.

An error e of a row moves the answer by J e, so the mean M of J'J over words and texts says what errors cost: e'M e.
J is seen by steps along each column, for which answers alone are needed and no derivative of the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minibert_converter.network import Float32Array
from minibert_converter.passes.embeddings.trial import Trial
from minibert_converter.progress import OnProgress, no_progress

#: Words whose surroundings are looked at, by turns alone and within a text.
_WORDS = 48
#: Tokens around a word within a text, on either side.
_AROUND = 3
#: How long a step is, beside a row: shorter than the errors to come, and not so short that rounding is seen.
_LENGTH = 0.2
#: Multiplications that may be spent: a large network is asked about fewer words, but so many at least.
_MULTIPLICATIONS, _FEWEST = 1.2e12, 8
#: What is added to the metric, which has trace 1, shared out to all directions: it knows only what it has seen.
_EVEN = 0.7


def metric_of(
    trial: Trial,
    table: Float32Array,
    texts: Sequence[Sequence[int]],
    weights: npt.NDArray[np.float64],
    random: np.random.Generator,
    progress: OnProgress = no_progress,
) -> npt.NDArray[np.float64]:
    """The metric of the columns: float64 [columns, columns], positive definite.

    Args:
        trial: of the network.
        table: its words, float32 [rows, columns], without padding.
        texts: ids of texts like those to come, special tokens included; the trial keeps their rows.
        weights: float64 [rows], how likely each word is to be looked at alone.
        random: chooses words.
        progress: called with the stage "weighing errors".
    """
    columns = table.shape[1]
    tokens = sum(map(len, trial.frame)) + 1 + _AROUND
    count = int(_MULTIPLICATIONS / (columns * max(trial.multiplications(tokens), 1)))
    places = _places(trial, texts, weights, random, min(max(count, _FEWEST), _WORDS))
    total = np.zeros((columns, columns))
    for done, (before, word, after) in enumerate(places):
        progress("weighing errors", done, len(places))
        rows = np.zeros((columns + 1, trial.width), np.float32)
        rows[:, :columns] = table[word]
        rows[np.arange(columns), np.arange(columns)] += _LENGTH * np.linalg.norm(table[word])
        answers = trial.within(before, after, rows).astype(np.float64)
        moved = answers[:-1] - answers[-1]
        square = moved @ moved.T
        total += square / max(np.trace(square), 1e-30)  # no word is heard more than another
    progress("weighing errors", len(places), len(places))
    return total / len(places) + _EVEN / columns * np.eye(columns)


def _places(
    trial: Trial,
    texts: Sequence[Sequence[int]],
    weights: npt.NDArray[np.float64],
    random: np.random.Generator,
    count: int,
) -> list[tuple[list[int], int, list[int]]]:
    """Words and the ids before and behind them: by turns alone, and within a text."""
    before, after = trial.frame
    special = {*before, *after}
    inner = [own for text in texts if (own := [one for one in text if one not in special])]
    alone = random.choice(len(weights), count, p=weights / weights.sum())
    places: list[tuple[list[int], int, list[int]]] = []
    for number, word in enumerate(alone):
        if number % 2 or not inner:
            places.append((before, int(word), after))
            continue
        own = inner[int(random.integers(len(inner)))]
        at = int(random.integers(len(own)))
        left, right = own[max(at - _AROUND, 0) : at], own[at + 1 : at + 1 + _AROUND]
        places.append(([*before, *left], own[at], [*right, *after]))
    return places
