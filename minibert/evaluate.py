"""How good a model's answers are on data whose answers are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from minibert.errors import InputError
from minibert.model import Model
from minibert.tasks import metrics
from minibert.tasks.entities import entity_scores, word_tags
from minibert.text.inputs import Text

#: What stands between the labels of one text in a multi-label file.
LABEL_SEPARATOR = ","


def evaluate(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Answer texts and compare.

    Args:
        model: a classifier, or an embedding model for pairs of sentences.
        texts: texts or pairs.
        truth: for each text what a file would say. A classifier's label by name, or by number if no label is called
            so; several, separated by commas, if it is multi-label; a number for a regression, and for pairs of
            sentences how alike they are on any scale.
        progress: called with the number of texts answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "seconds", "texts_per_second", and "accuracy" and "macro_f1" (multi-label:
        "exact_match", "micro_f1", "macro_f1"; regression and pairs: "pearson", "spearman"), from 0 (or -1) to 1.

    Raises:
        InputError: no texts, as many truths as there are texts not, or a truth that is no label or number.
    """
    if not texts or len(texts) != len(truth):
        raise InputError(f"evaluation needs as many labels as texts, and one at least: {len(texts)} and {len(truth)}")
    if model.task.kind not in ("sentence-embedding", "text-classification"):
        raise InputError(f"a {model.task.kind} model is not evaluated on texts with labels")
    if model.task.kind == "sentence-embedding":
        measure = _similarity
    elif model.task.problem_type == "regression":
        measure = _regression
    else:
        measure = _multi_label if model.task.problem_type == "multi_label" else _single_label
    start = time.perf_counter()
    figures = measure(model, texts, truth, progress or (lambda count: None))
    seconds = time.perf_counter() - start
    rate = len(texts) / seconds
    return {"task": model.task.kind, "texts": len(texts), **figures, "seconds": seconds, "texts_per_second": rate}


def evaluate_entities(
    model: Model,
    sentences: Sequence[Sequence[str]],
    truth: Sequence[Sequence[str]],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Tag the words of sentences and compare: F1 of entities whose words and kind must both be right.

    Args:
        model: for token classification.
        sentences: the words of each.
        truth: the tags of each, in BIO notation.
        progress: called with the number of sentences answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "seconds", "texts_per_second", "entity_f1", "entity_precision",
        "entity_recall", from 0 to 1.

    Raises:
        InputError: no sentences, or not as many tags as words.
    """
    if not sentences or list(map(len, sentences)) != list(map(len, truth)):
        raise InputError("evaluation needs one sentence at least, and a tag for each word")
    start = time.perf_counter()
    answers = []
    tokens = model.iter_predict((" ".join(words) for words in sentences), ignore_labels=())
    for words, answer in zip(sentences, tokens, strict=True):
        answers.append(word_tags(words, answer))
        if progress is not None:
            progress(1)
    figures = entity_scores(truth, answers)
    seconds = time.perf_counter() - start
    rate = len(sentences) / seconds
    return {"task": model.task.kind, "texts": len(sentences), **figures, "seconds": seconds, "texts_per_second": rate}


def evaluate_answers(
    model: Model,
    questions: Sequence[tuple[str, str]],
    truth: Sequence[Sequence[str]],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Answer questions and compare, as SQuAD does (Rajpurkar et al. 2016, arXiv 1606.05250).

    Args:
        model: for question answering.
        questions: pairs of question and context.
        truth: the answers that count as right for each; none if the context has no answer.
        progress: called with the number of questions answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "seconds", "texts_per_second", "exact_match" and "f1" (of words), 0 to 1.

    Raises:
        InputError: no questions, or not as many truths.
    """
    if not questions or len(questions) != len(truth):
        raise InputError(f"evaluation needs as many answers as questions, and one at least: {len(questions)}")
    impossible = not all(truth)
    start = time.perf_counter()
    exact = f1 = 0.0
    answers = model.iter_predict(questions, handle_impossible_answer=impossible)
    for right, answer in zip(truth, answers, strict=True):
        exact += max(metrics.answer_match(each, answer["answer"]) for each in right or [""])
        f1 += max(metrics.answer_f1(each, answer["answer"]) for each in right or [""])
        if progress is not None:
            progress(1)
    seconds = time.perf_counter() - start
    return {
        "task": model.task.kind,
        "texts": len(questions),
        "exact_match": exact / len(questions),
        "f1": f1 / len(questions),
        "seconds": seconds,
        "texts_per_second": len(questions) / seconds,
    }


def _single_label(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None]
) -> dict[str, float]:
    known = _names(model, truth)
    answers = []
    for answer in model.iter_predict(texts):
        answers.append(answer["label"])
        progress(1)
    return {"accuracy": metrics.accuracy(known, answers), "macro_f1": metrics.macro_f1(known, answers)}


def _multi_label(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None]
) -> dict[str, float]:
    sets = [[part.strip() for part in each.split(LABEL_SEPARATOR) if part.strip()] for each in truth]
    names = dict(zip(flat := [name for each in sets for name in each], _names(model, flat), strict=True))
    known = [{names[name] for name in each} for each in sets]
    answers = []
    for answer in model.iter_predict(texts, top_k=None):
        answers.append({each["label"] for each in answer if each["score"] > 0.5})
        progress(1)
    return {
        "exact_match": metrics.accuracy([frozenset(each) for each in known], [frozenset(each) for each in answers]),
        "micro_f1": metrics.micro_f1(known, answers),
        "macro_f1": metrics.multi_label_macro_f1(known, answers),
    }


def _regression(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None]
) -> dict[str, float]:
    if len(model.labels) != 1:
        raise InputError(f"evaluation of a regression needs one output, the model has {len(model.labels)}")
    known = _numbers(truth)
    answers = []
    for answer in model.iter_predict(texts):
        answers.append(answer["score"])
        progress(1)
    return {"pearson": metrics.pearson(known, answers), "spearman": metrics.spearman(known, answers)}


def _similarity(
    model: Model, texts: Sequence[Text], truth: Sequence[str], progress: Callable[[int], None]
) -> dict[str, float]:
    known = _numbers(truth)
    pairs = [text for text in texts if isinstance(text, tuple)]
    if len(pairs) != len(texts):
        raise InputError("an embedding model is evaluated on pairs of sentences: name the second column (--text-pair)")
    # Both sentences of each pair in one stream, so that the engine sees full batches.
    vectors = model.iter_encode(sentence for pair in pairs for sentence in pair)
    answers = []
    for first in vectors:
        answers.append(float(model.similarity_pairwise(first, next(vectors))[0]))
        progress(1)
    return {"pearson": metrics.pearson(known, answers), "spearman": metrics.spearman(known, answers)}


def _names(model: Model, truth: Sequence[str]) -> list[str]:
    """Labels by name; a file may also number them."""
    labels = model.labels
    unknown = sorted(set(truth) - set(labels))
    if not unknown:
        return list(truth)
    numbers = {str(index): name for index, name in enumerate(labels)}
    if set(truth) <= numbers.keys():
        return [numbers[each] for each in truth]
    shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise InputError(f"{unknown[0]!r} is no label of the model, which has {len(labels)}: {shown}")


def _numbers(truth: Sequence[str]) -> list[float]:
    try:
        return [float(each) for each in truth]
    except ValueError as error:
        raise InputError(f"the labels must be numbers: {error}") from None
