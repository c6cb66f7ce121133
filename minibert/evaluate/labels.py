"""Labels of whole texts, and numbers for texts and pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from minibert.datasets import listed
from minibert.errors import InputError
from minibert.evaluate import metrics
from minibert.model import Model
from minibert.tasks.zero_shot import TEMPLATE, ZeroShot
from minibert.text.inputs import Text

T = TypeVar("T")


def evaluate(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Answer texts and compare.

    Args:
        model: a classifier, or an embedding model for pairs of sentences.
        texts: texts or pairs.
        truth: for each text what a file would say. A classifier's label by name, or by number if no label is called
            so, or what it calls a text that no label fits; several, as `listed` reads them, if it is multi-label; a
            number for a regression, and for pairs of sentences how alike they are on any scale.
        progress: called with the number of texts answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "seconds", "texts_per_second", and "accuracy" and "macro_f1" (multi-label:
        "exact_match", "micro_f1", "macro_f1"; regression and pairs: "pearson", "spearman"), from 0 (or -1) to 1.

    Raises:
        InputError: no texts, as many truths as there are texts not, or a truth that is no label or number.
    """
    _refuse_uneven(texts, truth)
    if model.task.kind not in ("sentence-embedding", "text-classification"):
        raise InputError(f"a {model.task.kind} model is not evaluated on texts with labels")
    if model.task.kind == "sentence-embedding":
        measure = _similarity
    elif model.task.problem_type == "regression":
        measure = _regression
    else:
        measure = _multi_label if model.task.problem_type == "multi_label" else _single_label
    start = time.perf_counter()
    figures = measure(model, texts, truth, progress)
    return report(model.task.kind, len(texts), figures, start)


def evaluate_zero_shot(
    model: Model,
    texts: Sequence[str],
    truth: Sequence[str],
    candidate_labels: str | Sequence[str] | None = None,
    hypothesis_template: str = TEMPLATE,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Choose among labels that the model was not trained on, and compare.

    Args:
        model: for text classification, with a label "entailment".
        texts: to answer.
        truth: the right label of each.
        candidate_labels: what to choose from, as a list or separated by commas; by default every label of `truth`.
        hypothesis_template: a sentence with {} where the label goes.
        progress: called with the number of texts answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "labels" (how many there were to choose from), "accuracy", "macro_f1",
        "seconds", "texts_per_second".

    Raises:
        InputError: no texts, not as many truths, or a truth that is none of the candidates.
        UnsupportedError: the model has no label "entailment".
    """
    _refuse_uneven(texts, truth)
    if candidate_labels is None:
        candidate_labels = sorted(set(truth))
    candidates = ZeroShot(model.labels, candidate_labels, hypothesis_template).candidates
    unknown = sorted(set(truth) - set(candidates))
    if unknown:
        raise InputError(f"{unknown[0]!r} is none of the labels to choose from: {', '.join(candidates[:8])}")
    start = time.perf_counter()
    given = model.iter_predict(texts, candidate_labels=candidates, hypothesis_template=hypothesis_template)
    answers = [answer["labels"][0] for answer in counted(given, progress)]
    figures = {"accuracy": metrics.accuracy(truth, answers), "macro_f1": metrics.macro_f1(truth, answers)}
    return report("zero-shot-classification", len(texts), {"labels": len(candidates), **figures}, start)


def counted(answers: Iterable[T], progress: Callable[[int], None] | None) -> Iterator[T]:
    """Answers as they are; `progress` hears of each that has been looked at."""
    for answer in answers:
        yield answer
        if progress is not None:
            progress(1)


def report(task: str, texts: int, figures: dict[str, float], start: float) -> dict[str, Any]:
    """What every measurement says: figures between what was done and the time since `start` (time.perf_counter)."""
    seconds = time.perf_counter() - start
    return {"task": task, "texts": texts, **figures, "seconds": seconds, "texts_per_second": texts / seconds}


def _refuse_uneven(texts: Sequence[Any], truth: Sequence[Any]) -> None:
    if not texts or len(texts) != len(truth):
        raise InputError(f"evaluation needs as many labels as texts, and one at least: {len(texts)} and {len(truth)}")


def _single_label(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None
) -> dict[str, float]:
    known = _names(model, truth)
    answers = [answer["label"] for answer in counted(model.iter_predict(texts), progress)]
    return {"accuracy": metrics.accuracy(known, answers), "macro_f1": metrics.macro_f1(known, answers)}


def _multi_label(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None
) -> dict[str, float]:
    sets = [listed(each) for each in truth]
    names = dict(zip(flat := [name for each in sets for name in each], _names(model, flat), strict=True))
    known = [{names[name] for name in each} for each in sets]
    given = counted(model.iter_predict(texts, top_k=None), progress)
    answers = [{each["label"] for each in answer if each["score"] > 0.5} for answer in given]
    return {
        "exact_match": metrics.accuracy([frozenset(each) for each in known], [frozenset(each) for each in answers]),
        "micro_f1": metrics.micro_f1(known, answers),
        "macro_f1": metrics.multi_label_macro_f1(known, answers),
    }


def _regression(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None
) -> dict[str, float]:
    if len(model.labels) != 1:
        raise InputError(f"evaluation of a regression needs one output, the model has {len(model.labels)}")
    known = _numbers(truth)
    answers = [answer["score"] for answer in counted(model.iter_predict(texts), progress)]
    return {"pearson": metrics.pearson(known, answers), "spearman": metrics.spearman(known, answers)}


def _similarity(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None
) -> dict[str, float]:
    known = _numbers(truth)
    pairs = [text for text in texts if isinstance(text, tuple)]
    if len(pairs) != len(texts):
        raise InputError("an embedding model is evaluated on pairs of sentences: name the second column (--text-pair)")
    # Both sentences of each pair in one stream, so that the engine sees full batches.
    vectors = model.iter_encode(sentence for pair in pairs for sentence in pair)
    both = counted(zip(vectors, vectors, strict=True), progress)
    answers = [float(model.similarity_pairwise(first, second)[0]) for first, second in both]
    return {"pearson": metrics.pearson(known, answers), "spearman": metrics.spearman(known, answers)}


def _names(model: Model, truth: Sequence[str]) -> list[str]:
    """Labels by name; a file may also number them."""
    labels = model.labels
    names = {*labels, model.task.other} if model.task.other_below else set(labels)
    unknown = sorted(set(truth) - names)
    if not unknown:
        return list(truth)
    numbers = {str(index): name for index, name in enumerate(labels)}
    if set(truth) <= numbers.keys() - names:
        return [numbers[each] for each in truth]
    shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise InputError(f"{unknown[0]!r} is no label of the model, which has {len(labels)}: {shown}")


def _numbers(truth: Sequence[str]) -> list[float]:
    try:
        return [float(each) for each in truth]
    except ValueError as error:
        raise InputError(f"the labels must be numbers: {error}") from None
