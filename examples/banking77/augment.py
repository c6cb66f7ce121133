"""Vary texts, so that a teacher shows its pupil more than the texts it learned by heart itself."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

WORD = re.compile(r"\w+|[^\w\s]")  # words and punctuation marks, as BERT's own first split makes them
DROP, REPLACE, RANDOM, SWAP, TYPO = 0.08, 0.15, 0.04, 0.04, 0.03  # chance for each word
MIX = 0.25  # chance that a text is crossed with another


def neighbours(words: Sequence[str], vectors: Tensor, count: int = 8) -> dict[str, list[str]]:
    """For each word the ``count`` others that are nearest by cosine; ``vectors`` is float32 [words, width]."""
    unit = functional.normalize(vectors)
    near = (unit @ unit.T).fill_diagonal_(-1).topk(count).indices
    return {word: [words[i] for i in row] for word, row in zip(words, near.tolist(), strict=True)}


def _typo(word: str, rng: random.Random) -> str:
    """One slip of the finger: a letter dropped, doubled, or two exchanged."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def disturb(
    words: Sequence[str], rng: random.Random, near: Mapping[str, Sequence[str]], pool: Sequence[str]
) -> list[str]:
    """Drop, replace, misspell and exchange words. ``near`` and ``pool`` may be empty: then no word is replaced."""
    out: list[str] = []
    for word in words:
        chance = rng.random()
        if (chance := chance - DROP) < 0:
            continue
        if (chance := chance - REPLACE) < 0:
            word = rng.choice(near[word]) if word in near else word
        elif (chance := chance - RANDOM) < 0:
            word = rng.choice(pool) if pool else word
        elif chance < TYPO:
            word = _typo(word, rng)
        out.append(word)
    for i in range(len(out) - 1):
        if rng.random() < SWAP:
            out[i], out[i + 1] = out[i + 1], out[i]
    return out or list(words)


def cross(words: Sequence[str], other: Sequence[str], rng: random.Random) -> list[str]:
    """A run of words of one text, then a run of words of another, each about half as long as its text or longer."""

    def run(source: Sequence[str]) -> Sequence[str]:
        length = max(1, round(len(source) * rng.uniform(0.4, 0.9)))
        start = rng.randrange(len(source) - length + 1)
        return source[start : start + length]

    return [*run(words), *run(other)]


def augmented(
    texts: Sequence[str],
    labels: Sequence[int],
    rng: random.Random,
    near: Mapping[str, Sequence[str]],
    *,
    mix: bool,
) -> list[str]:
    """One varied copy of every text, in order.

    Args:
        texts: the originals.
        labels: their classes: half of the crossings are with a text of the same class.
        rng: source of all chance.
        near: words that may stand for a word.
        mix: whether texts are crossed and words replaced by any other, which needs a teacher to label them anew.
    """
    split = [WORD.findall(text.lower()) or [text] for text in texts]
    pool = [word for words in split for word in words] if mix else []
    same: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        same.setdefault(label, []).append(i)
    copies = []
    for words, label in zip(split, labels, strict=True):
        if mix and rng.random() < MIX:
            other = rng.choice(same[label]) if rng.random() < 0.5 else rng.randrange(len(split))
            words = cross(words, split[other], rng)
        copies.append(" ".join(disturb(words, rng, near, pool)))
    return copies
