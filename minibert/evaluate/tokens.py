"""Tasks that look at tokens: entities, answers to questions, masked words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from minibert.errors import InputError
from minibert.evaluate import metrics
from minibert.evaluate.entities import entity_scores, word_tags
from minibert.evaluate.labels import counted, report
from minibert.model import Model

#: Tokens for each mask among which the right one may be.
TOP = 5


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
    tokens = counted(model.iter_predict((" ".join(words) for words in sentences), ignore_labels=()), progress)
    answers = [word_tags(words, answer) for words, answer in zip(sentences, tokens, strict=True)]
    return report(model.task.kind, len(sentences), entity_scores(truth, answers), start)


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
    answers = counted(model.iter_predict(questions, handle_impossible_answer=impossible), progress)
    for right, answer in zip(truth, answers, strict=True):
        exact += max(metrics.answer_match(each, answer["answer"]) for each in right or [""])
        f1 += max(metrics.answer_f1(each, answer["answer"]) for each in right or [""])
    figures = {"exact_match": exact / len(questions), "f1": f1 / len(questions)}
    return report(model.task.kind, len(questions), figures, start)


def evaluate_masks(
    model: Model, texts: Sequence[str], words: Sequence[str], progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Guess masked words and compare.

    Args:
        model: for fill-mask.
        texts: each with one mask ([MASK] or <mask>).
        words: what stood there. One that is no single token of the vocabulary is never guessed.
        progress: called with the number of texts answered since the last call.

    Returns:
        Plain JSON values: "task", "texts", "seconds", "texts_per_second", and from 0 to 1 "accuracy" (the best guess is
        right), "top_5_accuracy" (one of the best five is), "single_token" (words that are one token).

    Raises:
        InputError: no texts, not as many words, or a text that has not one mask.
    """
    if not texts or len(texts) != len(words):
        raise InputError(f"evaluation needs as many words as texts, and one at least: {len(texts)} and {len(words)}")
    start = time.perf_counter()
    first = best = single = 0
    answers = counted(model.iter_predict(texts, top_k=TOP), progress)
    for place, (word, guesses) in enumerate(zip(words, answers, strict=True)):
        if isinstance(guesses[0], list):
            raise InputError(f"text {place} has {len(guesses)} masks: evaluation needs one in each text")
        right = _tokens_of(model, word)
        tokens = [guess["token"] for guess in guesses]
        first += tokens[0] in right
        best += not right.isdisjoint(tokens)
        single += bool(right)
    shares = {"accuracy": first, "top_5_accuracy": best, "single_token": single}
    figures = {name: count / len(texts) for name, count in shares.items()}
    return report(model.task.kind, len(texts), figures, start)


def _tokens_of(model: Model, word: str) -> set[int | None]:
    """Tokens that are a word: by name, or at the beginning of a text, or behind a space; none if it is in pieces."""
    tokenizer, word = model.tokenizer, word.strip()
    contents = [tokenizer.content(text).ids for text in (word, f" {word}")]
    return {tokenizer.token_id(word), *(ids[0] for ids in contents if len(ids) == 1)} - {None, tokenizer.unknown_id}
