"""Other entries of codebooks for the words that lose most: what is nearest on average is not best for every word.

A word's error is small or large in the network's answer by where it points. Of each word that fares badly, many rows
near its own are made by taking the second or third nearest entry here and there, and the one is kept whose answer, to
the word as a text, is nearest to that of the true row. What a row loses in other texts is told by the metric alone, and
counts as much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minibert_converter.matrices import widened
from minibert_converter.network import CodebookTable, Float32Array, LinearWeights
from minibert_converter.passes.embeddings.trial import Trial
from minibert_converter.progress import OnProgress, no_progress

#: Words that are looked at, the heaviest; those of them that get others; rounds, and rows tried for each in a round.
_SEEN, _WORST, _ROUNDS, _TRIED = 12288, 512, 3, 24
#: Nearest entries to choose from, and the chance of each sub-vector to get another one.
_NEAREST, _CHANCE = 4, 0.15
#: Multiplications that may be spent; of a large network fewer words are looked at.
_MULTIPLICATIONS = 2e12


def settle(
    trial: Trial,
    table: Float32Array,
    turned: Float32Array,
    made: CodebookTable,
    projection: LinearWeights,
    weights: npt.NDArray[np.float64],
    random: np.random.Generator,
    progress: OnProgress = no_progress,
) -> None:
    """Changes codes and scales of the words that lose most.

    Args:
        trial: of the network.
        table: its words, float32 [rows, H].
        turned: what codes stand for, float32 [rows, W].
        made: the codes.
        projection: brings turned rows back.
        weights: float64 [rows], what the error of each row counts.
        random: chooses what is tried.
        progress: called with the stage "settling words".
    """
    before, after = trial.frame
    affordable = int(_MULTIPLICATIONS / max(trial.multiplications(len(before) + 1 + len(after)), 1))
    share = min(1.0, affordable / (2 * _SEEN + _ROUNDS * _WORST * _TRIED))
    seen = np.argsort(-weights, kind="stable")[: max(int(share * _SEEN), 1)]

    def answers(codes: npt.NDArray[np.uint8], scale: Float32Array) -> Float32Array:
        back = _rows(made, codes) * scale[:, None] @ projection.weight.T + projection.bias
        return trial.within(before, after, widened(back, trial.width))

    progress("settling words", 0, _ROUNDS + 1)
    wanted = trial.within(before, after, table[seen])
    codes, scale = made.codes[seen], made.scale[seen]
    lost, far = _lost(answers(codes, scale), wanted), _far(_rows(made, codes) * scale[:, None], turned[seen])
    exchange = float(lost.sum()) / max(float(far.sum()), 1e-30)
    worst = np.argsort(-lost, kind="stable")[: int(share * _WORST)]
    seen, wanted = seen[worst], wanted[worst]
    aims = np.repeat(turned[seen], _TRIED, axis=0)
    for done in range(_ROUNDS if len(seen) else 0):
        progress("settling words", done + 1, _ROUNDS + 1)
        codes = np.concatenate([_others(turned[word], made, word, random) for word in seen])
        rows = _rows(made, codes)
        scale = (rows * aims).sum(axis=1) / np.maximum((rows * rows).sum(axis=1), 1)
        lost = _lost(answers(codes, scale), np.repeat(wanted, _TRIED, axis=0))
        lost += exchange * _far(rows * scale[:, None], aims)
        best = np.arange(len(seen)) * _TRIED + lost.reshape(-1, _TRIED).argmin(axis=1)
        made.codes[seen], made.scale[seen] = codes[best], scale[best]
    progress("settling words", _ROUNDS + 1, _ROUNDS + 1)


def _rows(made: CodebookTable, codes: npt.NDArray[np.uint8]) -> Float32Array:
    """What codes stand for, without a scale: float32 [n, W]."""
    return made.codebook[np.arange(codes.shape[1]), codes].reshape(len(codes), -1).astype(np.float32)


def _far(rows: Float32Array, aims: Float32Array) -> npt.NDArray[np.float64]:
    """The squared distance of each row from its aim, in the metric in which rows were turned."""
    return np.square(rows - aims, dtype=np.float64).sum(axis=1)


def _lost(answers: Float32Array, wanted: Float32Array) -> npt.NDArray[np.float64]:
    """The squared error of each answer, beside its size."""
    size = np.square(wanted, dtype=np.float64).sum(axis=1)
    return np.square(answers - wanted, dtype=np.float64).sum(axis=1) / np.maximum(size, 1e-12)


def _others(aim: Float32Array, made: CodebookTable, word: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Codes of rows near one: its own first. uint8 [_TRIED, W / s]."""
    parts, _entries, size = made.codebook.shape
    scale = made.scale[word] or np.float32(1)
    distances = np.square(made.codebook - (aim / scale).reshape(parts, 1, size)).sum(axis=2)
    near = np.argpartition(distances, _NEAREST, axis=1)[:, :_NEAREST]
    near = np.take_along_axis(near, np.take_along_axis(distances, near, axis=1).argsort(axis=1), axis=1)
    found = np.repeat(made.codes[word][None], _TRIED, axis=0)
    other = random.random(found.shape) < _CHANCE
    other[0] = False
    drawn = np.take_along_axis(near, random.integers(0, _NEAREST, (_TRIED, parts)).T, axis=1).T
    found[other] = drawn[other]
    return found
