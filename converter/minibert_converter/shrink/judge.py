"""How like its teacher a student answers, and how good, on texts that it did not learn from.

Texts are cut in two: on one half students are compared and one is chosen; what is said of the chosen one is measured on
the other half, which no choice has seen. With it goes the interval of `budget.interval`, since teacher and student
answer the same texts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.evaluate.entities import spans, word_tags
from minibert.evaluate.metrics import spearman
from minibert.evaluate.spread import GROUPS
from minibert.model import Model
from minibert_converter.budget import interval
from minibert_converter.budget.interval import Score
from minibert_converter.distill.dataset import Examples, Text

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """What a student keeps of its teacher's score.

    Attributes:
        score: the student's.
        teacher: the teacher's.
        low: the part that is kept, at the lower end of an interval that holds the true one with `interval.CONFIDENCE`.
        high: at the upper end.
        texts: on which that was measured.
    """

    score: float
    teacher: float
    low: float
    high: float
    texts: int

    @property
    def part(self) -> float:
        """Of the teacher's score, the part that the student has."""
        return self.score / self.teacher if self.teacher > 0 else 0.0


class Judge:
    """Compares students with their teacher.

    Args:
        teacher: in float32, as the engine runs it.
        examples: texts and labels, if they are known; where not, the teacher's answers are what is right. Embeddings of
            pairs are judged by how alike two texts are; of single texts, those that follow one another are the pairs.
        seed: of the two halves.

    Attributes:
        measure: what the score is called.

    Raises:
        InputError: too few texts, or labels that the teacher does not have.
    """

    def __init__(self, teacher: Model, examples: Examples, seed: int = 0) -> None:
        self._task = teacher.task
        singles = [text for text in examples.texts if isinstance(text, str)]
        if self._task.kind == "sentence-embedding" and len(singles) == len(examples.texts):
            examples = Examples(list(zip(singles, singles[1:] + singles[:1], strict=True)))
        self._texts = list(examples.texts)
        if len(self._texts) < 20:
            raise InputError(f"a student is judged on 20 texts at least, and there are {len(self._texts)}")
        self._teachers = self.answers(teacher)
        self._truth: Any = self._teachers.said if examples.labels is None else self._known(examples.labels)
        self.measure = _measure_of(self._task)
        order = np.random.default_rng(seed).permutation(len(self._texts))
        self._choosing, self._stating = order[: len(order) // 2], order[len(order) // 2 :]
        self._teacher_counts = self._counts(self._teachers)

    @property
    def texts(self) -> int:
        """Texts that are judged on, both halves."""
        return len(self._texts)

    def answers(self, model: Model) -> Answers:
        """What a model says of all texts."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts that are cut, once for each model
            return _READERS[self._task.kind](model, self._texts)

    def likeness(self, answers: Answers) -> float:
        """How like the teacher's answers are, 0 to 1, on the half for choosing: what students are compared by.

        For labels the probability that both put on the same, for numbers the part of the variance that is explained,
        for vectors the mean cosine, for tags F1 against the teacher's entities.
        """
        rows = self._choosing
        if self._task.kind == "token-classification":
            found, hits, known = _entity_counts(self._teachers.said, answers.said)[rows].sum(axis=0)
            return float(2 * hits / max(found + known, 1))
        own, others = answers.rows[rows], self._teachers.rows[rows]
        if self._task.kind == "sentence-embedding":
            return float((own * others).sum(axis=2).mean())
        if self._task.problem_type == "regression":
            return max(0.0, float(1 - np.square(own - others).mean() / max(others.var(), 1e-12)))
        if self._task.problem_type == "multi_label":
            return float(1 - np.abs(own - others).mean())
        return float(np.minimum(own, others).sum(axis=1).mean())

    def kept(self, answers: Answers, *, stated: bool = False) -> Kept:
        """The score beside the teacher's, on the half for choosing, or on that by which the result is stated."""
        rows = self._stating if stated else self._choosing
        ranks = self.measure == "spearman"
        groups = np.arange(len(rows)) % min(GROUPS, len(rows))  # rows are in random order
        own, teachers = (
            Score(_figure(counts, ranks), tuple(_figure(counts[groups != group], ranks) for group in set(groups)))
            for counts in (self._counts(answers)[rows], self._teacher_counts[rows])
        )
        found = interval.kept(own, teachers)
        low, high = (found.least, found.most) if found else (0.0, 0.0)
        return Kept(own.whole, teachers.whole, low, high, len(rows))

    def _counts(self, answers: Answers) -> Float64Array:
        """What the score is added up from, by text: answers, right ones, true ones; or for ranks truth and answer."""
        if self._task.kind == "token-classification":
            return _entity_counts(self._truth, answers.said)
        if self.measure == "spearman":
            return np.stack([np.asarray(self._truth, np.float64), np.asarray(answers.said, np.float64)], axis=1)
        pairs = [(set(own), set(truth)) for own, truth in zip(answers.said, self._truth, strict=True)]
        return np.array([(len(own), len(own & truth), len(truth)) for own, truth in pairs], np.float64)

    def _known(self, labels: Sequence[Any]) -> list[Any]:
        """The truth in the form of `Answers.said`."""
        if self._task.kind == "token-classification":
            return list(labels)
        if self._task.kind == "sentence-embedding" or self._task.problem_type == "regression":
            try:
                return [float(label) for label in labels]
            except ValueError as error:
                raise InputError(f"the teacher gives scores, and a label is no number ({error})") from None
        split = self._task.problem_type == "multi_label"
        sets = [[one.strip() for one in label.split(",") if one.strip()] if split else [label] for label in labels]
        names = {name: name for name in self._task.labels}
        numbers = {str(number): name for number, name in enumerate(self._task.labels)}
        flat = {one for each in sets for one in each}
        known = names if flat <= names.keys() else numbers
        if unknown := sorted(flat - known.keys()):
            raise InputError(
                f"{unknown[0]!r} is no label of the teacher, which has {len(names)}: {', '.join(self._task.labels[:8])}"
            )
        return [tuple(known[one] for one in each) for each in sets]


@dataclass(frozen=True)
class Answers:
    """What a model says of some texts.

    Attributes:
        said: by text the labels, a tuple; the tags of its words; or a number.
        rows: float64, by text the probabilities of all labels, the score, or both vectors of a pair; empty for tags.
    """

    said: list[Any]
    rows: Float64Array


def _of_labels(model: Model, texts: Sequence[Text]) -> Answers:
    task = model.task
    if task.problem_type == "regression":
        scores = [float(answer["score"]) for answer in model.iter_predict(texts)]
        return Answers(scores, np.array(scores)[:, None])
    places = {name: place for place, name in enumerate(task.labels)}
    rows = np.zeros((len(texts), len(places)))
    for row, answer in zip(rows, model.iter_predict(texts, top_k=None), strict=True):
        for one in answer:
            row[places[one["label"]]] = one["score"]
    if task.problem_type == "multi_label":
        said = [tuple(task.labels[i] for i in np.flatnonzero(row > 0.5)) for row in rows]
    else:
        said = [(task.labels[int(row.argmax())],) for row in rows]
    return Answers(said, rows)


def _of_tokens(model: Model, texts: Sequence[Text]) -> Answers:
    words = [str(text).split(" ") for text in texts]
    tokens = model.iter_predict([" ".join(each) for each in words], ignore_labels=())
    said = [word_tags(each, answer) for each, answer in zip(words, tokens, strict=True)]
    return Answers(said, np.zeros((len(texts), 0)))


def _of_vectors(model: Model, texts: Sequence[Text]) -> Answers:
    flat = [part for text in texts for part in ((text, text) if isinstance(text, str) else text)]
    vectors = np.array([np.asarray(each, np.float64) for each in model.iter_encode(flat)])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    rows = vectors.reshape(len(texts), 2, -1)
    return Answers([float(first @ second) for first, second in rows], rows)


_READERS = {
    "text-classification": _of_labels,
    "token-classification": _of_tokens,
    "sentence-embedding": _of_vectors,
}


def _measure_of(task: Any) -> str:
    if task.kind == "token-classification":
        return "entity_f1"
    if task.kind == "sentence-embedding" or task.problem_type == "regression":
        return "spearman"
    return "micro_f1" if task.problem_type == "multi_label" else "accuracy"


def _entity_counts(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Float64Array:
    """By sentence: entities found, found rightly, and known."""
    both = [(spans(found), spans(known)) for found, known in zip(answers, truth, strict=True)]
    return np.array([(len(found), len(found & known), len(known)) for found, known in both], np.float64)


def _figure(counts: Float64Array, ranks: bool) -> float:
    """Spearman's correlation of the columns; or F1, which is accuracy where each text has one answer and one truth."""
    if ranks:
        value = spearman(counts[:, 0], counts[:, 1])
        return value if np.isfinite(value) else 0.0
    found, hits, known = counts.sum(axis=0)
    return float(2 * hits / max(found + known, 1))
