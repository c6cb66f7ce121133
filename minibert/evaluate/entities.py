"""Entities as spans of words: what tags in BIO notation say, and the F1 of spans that must be exact."""

from __future__ import annotations

from collections.abc import Sequence

from minibert.evaluate.metrics import micro_f1
from minibert.tasks.token_classification import Entity, parse_label

#: First word, word after the last, kind.
Span = tuple[int, int, str]


def spans(tags: Sequence[str]) -> set[Span]:
    """Entities of a sentence, as conlleval reads tags: I- that continues nothing of its kind begins an entity.

    Args:
        tags: "O", or "B-" or "I-" and a kind, one for each word.
    """
    found: set[Span] = set()
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        begins, now = (False, "") if tag == "O" else parse_label(tag)
        if kind and (begins or now != kind):
            found.add((start, place, kind))
        if now and (begins or now != kind):
            start = place
        kind = now
    return found


def entity_scores(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """How many entities of all sentences are found with exactly their words and their kind.

    Args:
        truth: tags of each sentence.
        answers: as many tags, as the model has them.

    Returns:
        "entity_f1", "entity_precision", "entity_recall", from 0 to 1.
    """
    known, found = [spans(tags) for tags in truth], [spans(tags) for tags in answers]
    hits = sum(len(k & f) for k, f in zip(known, found, strict=True))
    return {
        "entity_f1": micro_f1(known, found),
        "entity_precision": hits / max(sum(map(len, found)), 1),
        "entity_recall": hits / max(sum(map(len, known)), 1),
    }


def word_tags(words: Sequence[str], tokens: Sequence[Entity]) -> list[str]:
    """The tag of each word: that of its first token, "O" if none was read.

    Args:
        words: of a sentence; its text is these with a space between.
        tokens: what token classification says of that text, nothing aggregated, nothing left out.
    """
    tags = ["O"] * len(words)
    tokens_left = iter(tokens)
    token: Entity | None = next(tokens_left, None)
    start = 0
    for place, word in enumerate(words):
        end = start + len(word)
        while token is not None and token["start"] < start:
            token = next(tokens_left, None)
        if token is not None and token["start"] < end:
            tags[place] = token.get("entity", "O")
        start = end + 1
    return tags
