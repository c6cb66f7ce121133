"""Varied copies of texts: what a teacher is asked beside the texts themselves, where those are few.

Words are left out, exchanged with their neighbours, or replaced: by words whose vectors in the teacher's own table are
near (as TinyBERT does with GloVe's, arXiv 1909.10351), or by any word of the texts. What a copy means nobody knows but
the teacher, which answers it; true labels do not hold of it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from minibert_converter.calibration.tokens import tokenizer_of
from minibert_converter.distill.dataset import Examples, Text
from minibert_converter.export import WORDS
from minibert_converter.network import Float32Array, Network

#: The chance of each word to be left out, replaced by a near one, by any, or to change places with the next.
_DROP, _NEAR, _ANY, _SWAP = 0.08, 0.15, 0.04, 0.04
#: Words that may be replaced by near ones: the most frequent; and near ones of each.
_MOST_WORDS, _NEIGHBOURS = 8192, 8
_WORD = re.compile(r"(\w+)")
#: Words whose neighbours are looked for at once.
_CHUNK = 1024


def with_copies(examples: Examples, copies: int, teacher: Network, seed: int) -> Examples:
    """The examples, and so many varied copies of each behind them, without labels.

    Args:
        examples: texts and labels.
        copies: of each text.
        teacher: whose vectors say which words are near.
        seed: of what is varied.
    """
    if not copies:
        return examples
    chance = random.Random(seed)
    parts = list(chain.from_iterable((text,) if isinstance(text, str) else text for text in examples.texts))
    counts = Counter(chain.from_iterable(_WORD.findall(part) for part in parts))
    near = neighbours(teacher, [word for word, _ in counts.most_common(_MOST_WORDS)])
    pool = list(counts.elements())

    def vary(text: Text) -> Text:
        if isinstance(text, str):
            return varied(text, chance, near, pool)
        return varied(text[0], chance, near, pool), varied(text[1], chance, near, pool)

    texts = [*examples.texts, *(vary(text) for _ in range(copies) for text in examples.texts)]
    labels = None
    if examples.labels is not None:
        labels = [*examples.labels, *[None] * (len(texts) - len(examples.labels))]
    return Examples(texts, labels)


def varied(text: str, chance: random.Random, near: Mapping[str, Sequence[str]], pool: Sequence[str]) -> str:
    """One varied copy of a text; never empty where the text is not.

    Args:
        text: what lies between words stays, but for the spaces around those that are left out.
        chance: decides.
        near: for a word, others that may stand for it.
        pool: words, as often as texts have them.
    """
    pieces = _WORD.split(text)  # what is between words, a word, what is between words, ...
    words = pieces[1::2]
    for place, word in enumerate(words):
        draw = chance.random()
        if draw < _DROP:
            words[place] = ""
        elif draw < _DROP + _NEAR:
            words[place] = chance.choice(near[word]) if word in near else word
        elif draw < _DROP + _NEAR + _ANY:
            words[place] = chance.choice(pool)
        elif draw < _DROP + _NEAR + _ANY + _SWAP and place:
            words[place - 1], words[place] = word, words[place - 1]
    if not any(words):
        return text
    pieces[1::2] = words
    return " ".join("".join(pieces).split())


def neighbours(network: Network, words: Sequence[str]) -> dict[str, list[str]]:
    """For each of the words that is a single token, the others whose vectors are nearest by cosine."""
    table = network.tables.get(WORDS)
    if not isinstance(table, np.ndarray):
        return {}
    tokenizer = tokenizer_of(network)
    contents = {word: tokenizer.content(word).ids for word in words}
    single = {word: ids[0] for word, ids in contents.items() if len(ids) == 1}
    names = list(single)
    if len(names) < 2:
        return {}
    rows = np.asarray(table, np.float32)[list(single.values())]
    unit: Float32Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found: dict[str, list[str]] = {}
    count = min(_NEIGHBOURS, len(names) - 1)
    for first in range(0, len(names), _CHUNK):
        cosines = unit[first : first + _CHUNK] @ unit.T
        own = np.arange(len(cosines))
        cosines[own, first + own] = -np.inf
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        found |= {names[first + i]: [names[j] for j in row] for i, row in enumerate(nearest)}
    return found
