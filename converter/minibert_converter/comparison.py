"""One model before a conversion, in float32, and after it: size, speed, score, and the answers that changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minibert import bench
from minibert.model import Model
from minibert.text.tokenizer import TruncationWarning
from minibert_converter.calibration.tokens import builtin_texts, evenly
from minibert_converter.progress import OnProgress, no_progress

#: Texts that both answer, and changes that are kept, at most.
TEXTS, KEPT = 256, 10
#: Seconds for each measurement of time.
SECONDS = 0.3


@dataclass(frozen=True)
class Side:
    """The model before or after.

    Attributes:
        bytes: of its file.
        seconds: from one short text to its answer, here.
        texts_per_second: of a batch of short texts, through the engine, here.
        score: what `minibert eval` says of it; empty without examples.
    """

    bytes: int
    seconds: float
    texts_per_second: float
    score: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Both of them.

    Attributes:
        before: in float32.
        after: as the file has it.
        texts: how many both answered; 0 where answers cannot be had from texts alone.
        changed: how many of the answers differ; of vectors none counts as changed.
        examples: text, answer before and after of those that changed most.
        alike: of vectors, the mean cosine of each before and after.
    """

    before: Side
    after: Side
    texts: int = 0
    changed: int = 0
    examples: tuple[tuple[str, str, str], ...] = field(default=())
    alike: float | None = None


def compare(
    before: Model,
    after: Model,
    texts: Sequence[str] | None = None,
    scores: Sequence[Mapping[str, Any]] = (),
    progress: OnProgress = no_progress,
) -> Comparison:
    """Measure and answer.

    Args:
        before: the checkpoint in float32.
        after: what was made of it.
        texts: to be answered by both, TEXTS of them at even distances; None for those that ship with the converter.
        scores: what `minibert eval` says of `before` and of `after`, if it was asked.
        progress: called as `progress(stage, done, total)`.
    """
    sides = []
    for done, (model, score) in enumerate(zip((before, after), scores or ({}, {}), strict=True)):
        progress("measuring speed", done, 2)
        one, many = bench.one_text(model, SECONDS)["seconds"], bench.ragged(model, SECONDS)["texts_per_second"]
        sides.append(Side(model.size, one, many, score))
    progress("measuring speed", 2, 2)
    chosen = evenly(builtin_texts() if texts is None else list(texts), TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # both read as much
        return _compared(sides, before, after, chosen, progress)


def _compared(sides: list[Side], before: Model, after: Model, chosen: list[str], progress: OnProgress) -> Comparison:
    """Both sides, and what became of the answers to texts."""
    if after.task.kind == "sentence-embedding":
        return Comparison(sides[0], sides[1], len(chosen), **_vectors(before, after, chosen))
    say = _SAID.get(after.task.kind)
    if say is None:
        return Comparison(sides[0], sides[1])
    progress("comparing answers", 0, 1)
    pairs = zip(chosen, say(before, chosen), say(after, chosen), strict=True)
    changed = [each for each in pairs if each[1] != each[2]]
    progress("comparing answers", 1, 1)
    return Comparison(sides[0], sides[1], len(chosen), len(changed), tuple(changed[:KEPT]))


def _vectors(before: Model, after: Model, texts: list[str]) -> dict[str, Any]:
    """How alike vectors are, and the texts whose vectors moved most."""
    first, second = (np.asarray(model.encode(texts, normalize_embeddings=True)) for model in (before, after))
    cosines = (first * second).sum(1)
    moved = [(texts[place], "", f"cosine {cosines[place]:.4f}") for place in cosines.argsort()[:KEPT]]
    return {"alike": float(cosines.mean()), "examples": tuple(moved)}


def _labels(model: Model, texts: list[str]) -> list[str]:
    if model.task.problem_type == "regression":
        return [f"{each['score']:.2f}" for each in model.predict(texts)]
    if model.task.problem_type == "multi_label":
        scored = model.predict(texts, top_k=None)
        return [", ".join(sorted(each["label"] for each in one if each["score"] > 0.5)) for one in scored]
    return [each["label"] for each in model.predict(texts)]


def _entities(model: Model, texts: list[str]) -> list[str]:
    found = model.predict(texts, aggregation_strategy="simple")
    return [", ".join(f"{each['word']}: {each['entity_group']}" for each in one) for one in found]


#: Answers to texts in words, by the task of the model.
_SAID: dict[str, Callable[[Model, list[str]], list[str]]] = {
    "text-classification": _labels,
    "token-classification": _entities,
}
