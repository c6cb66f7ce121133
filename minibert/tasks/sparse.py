"""Rows of tokens as they are (features), and as weights of words (SPLADE, Formal et al. 2021, arXiv 2107.05720)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minibert.text.inputs import split
from minibert.text.sliding import Window
from minibert.text.tokenizer import Tokenizer


class SparseVector(NamedTuple):
    """A vector as long as the vocabulary of which only the entries that are not zero are kept.

    Attributes:
        indices: int32 [entries], token ids, rising.
        values: float32 [entries], their weights, above 0.
    """

    indices: np.ndarray
    values: np.ndarray


class FeatureReader:
    """Texts or pairs to the rows of all their tokens, special tokens included."""

    def check(self, item: Any, index: int) -> tuple[str, str | None]:
        """One text or pair."""
        return split(item, index)

    def characters(self, item: tuple[str, str | None]) -> int:
        """Characters of text and pair."""
        return len(item[0]) + len(item[1] or "")

    def windows(self, tokenizer: Tokenizer, item: tuple[str, str | None], max_length: int) -> tuple[list[Window], bool]:
        """All that the model reads at once."""
        encoded = tokenizer.encode(*item, max_length)
        return [Window(encoded.ids, encoded.type_ids, 0, [], [], [])], encoded.truncated

    def wanted(self, window: Window) -> range:
        """All tokens."""
        return range(len(window.ids))

    def find(self, window: Window, rows: np.ndarray) -> Any:
        """The rows themselves, float32 [tokens, outputs]."""
        return rows.copy()

    def answer(self, item: tuple[str, str | None], found: list[tuple[Window, Any]]) -> Any:
        """What was found in the one window."""
        return found[0][1]


class SparseReader(FeatureReader):
    """Texts to weights of the vocabulary's words: of each the largest log(1 + max(logit, 0)) over the tokens."""

    def find(self, window: Window, rows: np.ndarray) -> SparseVector:
        """Weights above 0."""
        largest = rows.max(axis=0)
        indices = np.flatnonzero(largest > 0)
        return SparseVector(indices.astype(np.int32), np.log1p(largest[indices]))
