"""Figures that judge answers: accuracy, F1, correlation, and the quality of rankings."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Hashable, Sequence, Set
from itertools import chain

import numpy as np


def accuracy(truth: Sequence[Hashable], answers: Sequence[Hashable]) -> float:
    """The share of answers that are right, 0 to 1."""
    return sum(t == a for t, a in zip(truth, answers, strict=True)) / len(truth)


def macro_f1(truth: Sequence[Hashable], answers: Sequence[Hashable]) -> float:
    """F1 of each label that occurs in `truth` or `answers`, averaged without weights, 0 to 1."""
    return multi_label_macro_f1([{t} for t in truth], [{a} for a in answers])


def multi_label_macro_f1(truth: Sequence[Set[Hashable]], answers: Sequence[Set[Hashable]]) -> float:
    """`macro_f1` where each text has a set of labels."""
    true, answered, hits = _counts(truth, answers)
    labels = true.keys() | answered.keys()
    return sum(2 * hits[label] / (true[label] + answered[label]) for label in labels) / max(len(labels), 1)


def micro_f1(truth: Sequence[Set[Hashable]], answers: Sequence[Set[Hashable]]) -> float:
    """F1 over all (text, label) decisions together, 0 to 1."""
    true, answered, hits = _counts(truth, answers)
    return 2 * hits.total() / max(true.total() + answered.total(), 1)


def pearson(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Pearson's correlation, -1 to 1; NaN if either side is constant."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Spearman's rank correlation, -1 to 1: Pearson's of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(np.asarray(x)), _ranks(np.asarray(y)))


def answer_match(truth: str, answer: str) -> float:
    """1 if two answers are the same but for case, punctuation, English articles and spaces, else 0."""
    return float(_answer_words(truth) == _answer_words(answer))


def answer_f1(truth: str, answer: str) -> float:
    """F1 of the words that two answers share, counted as often as they come, 0 to 1."""
    right, given = _answer_words(truth), _answer_words(answer)
    if not right or not given:
        return float(right == given)
    shared = (Counter(right) & Counter(given)).total()
    return 2 * shared / (len(right) + len(given))


def ndcg(gains: np.ndarray, depth: int) -> float:
    """Normalized discounted cumulative gain of the first `depth` ranks (Jarvelin and Kekalainen 2002), 0 to 1.

    Args:
        gains: of all documents in the order in which they were ranked; one at least is above 0.
        depth: ranks that count.
    """
    best = -np.sort(-gains)[:depth]
    discounts = 1 / np.log2(np.arange(2, len(best) + 2))
    return float(discounts @ gains[:depth] / (discounts @ best))


def reciprocal_rank(gains: np.ndarray) -> float:
    """One over the rank of the first document whose gain is above 0; 0 if there is none."""
    relevant = np.flatnonzero(gains > 0)
    return 1 / (1 + int(relevant[0])) if len(relevant) else 0.0


def _answer_words(text: str) -> list[str]:
    """Words as the SQuAD script counts them; only ASCII punctuation goes."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def _ranks(values: np.ndarray) -> np.ndarray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


def _counts(
    truth: Sequence[Set[Hashable]], answers: Sequence[Set[Hashable]]
) -> tuple[Counter[Hashable], Counter[Hashable], Counter[Hashable]]:
    """How often each label is true, answered, and both at once."""
    true = Counter(chain.from_iterable(truth))
    answered = Counter(chain.from_iterable(answers))
    hits = Counter(chain.from_iterable(t & a for t, a in zip(truth, answers, strict=True)))
    return true, answered, hits
