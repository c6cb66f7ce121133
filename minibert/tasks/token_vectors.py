"""One vector a token: late interaction (ColBERT: Khattab and Zaharia 2020, arXiv 2004.12832), and its similarity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minibert.errors import InputError
from minibert.format.schema import Side
from minibert.reading import Reader
from minibert.tasks.vectors import numbers
from minibert.text.inputs import single
from minibert.text.sliding import Window
from minibert.text.tokenizer import Tokenizer


class SideReader(Reader[str, np.ndarray]):
    """Texts to the vectors of their tokens, as queries or as documents.

    Args:
        side: how they are read.
        prompt: what is put before each text.
    """

    def __init__(self, side: Side, prompt: str = "") -> None:
        self._side = side
        self._prompt = prompt
        self._skip = frozenset(side.skip)

    def check(self, item: Any, index: int) -> str:
        """One text."""
        return single(item, index, "a vector for each token")

    def windows(self, tokenizer: Tokenizer, item: str, max_length: int) -> tuple[list[Window], bool]:
        """All that the model reads at once: prefix, text, filling."""
        side = self._side
        prefix = [] if side.prefix is None else [side.prefix]
        ids, types, truncated = tokenizer.encode(self._prompt + item, None, max_length - len(prefix))
        ids = [*ids[:1], *prefix, *ids[1:]]
        filling = max(min(side.fill_to, max_length) - len(ids), 0)
        if types is not None:
            types = [*types[:1], *bytes(len(prefix)), *types[1:], *bytes(filling)]
        attended = None if side.attend_to_fill or not filling else len(ids)
        ids += [side.fill_token] * filling
        return [Window(ids, types, 0, [], [], [], attended)], truncated

    def wanted(self, window: Window) -> Sequence[int]:
        """All tokens but those that are skipped."""
        return [place for place, token in enumerate(window.ids) if token not in self._skip]

    def find(self, window: Window, rows: np.ndarray) -> np.ndarray:
        """The vectors: float32 [tokens, dim]."""
        return rows.copy()

    def answer(self, item: str, found: list[tuple[Window, np.ndarray]]) -> np.ndarray:
        """Those of the one window."""
        return found[0][1]


def maxsim(queries: Any, documents: Any, *, mean: bool = False) -> np.ndarray:
    """MaxSim of every query to every document: of each vector of the query the best match, added up.

    Args:
        queries: one text's vectors, float [tokens, dim], or a sequence of such matrices.
        documents: the same.
        mean: divide by the query's number of vectors (MeanMaxSim).

    Returns:
        float32 [queries, documents].

    Raises:
        InputError: they are no matrices, of different widths, or without a vector.
    """
    queries, documents = _texts(queries, "queries"), _texts(documents, "documents")
    scores = np.empty((len(queries), len(documents)), np.float32)
    if not queries or not documents:
        return scores
    if len({each.shape[1] for each in (*queries, *documents)}) > 1:
        raise InputError("queries and documents have vectors of different widths")
    lengths = np.array([len(each) for each in queries])
    rows, starts = np.concatenate(queries), np.cumsum([0, *lengths[:-1]])
    for place, document in enumerate(documents):
        scores[:, place] = np.add.reduceat((rows @ document.T).max(axis=1), starts)
    return scores / lengths[:, None].astype(np.float32) if mean else scores


def maxsim_pairwise(queries: Any, documents: Any, *, mean: bool = False) -> np.ndarray:
    """MaxSim of each query to the document in the same place: float32 [n]; otherwise as `maxsim`."""
    queries, documents = _texts(queries, "queries"), _texts(documents, "documents")
    if len(queries) != len(documents):
        raise InputError(f"pairwise similarity needs as many texts on both sides, got {len(queries)}, {len(documents)}")
    pairs = zip(queries, documents, strict=True)
    return np.array([maxsim(query, document, mean=mean)[0, 0] for query, document in pairs], np.float32)


def _texts(value: Any, what: str) -> list[np.ndarray]:
    """Vectors of each text: one matrix is one text."""
    if isinstance(value, np.ndarray) and value.ndim == 2:
        value = [value]
    if not isinstance(value, Iterable):
        raise InputError(f"{what} must be a matrix [tokens, dim], or a list of them, got {type(value).__name__}")
    texts = [numbers(each, what).astype(np.float32, copy=False) for each in value]
    if any(each.ndim != 2 or not len(each) for each in texts):
        raise InputError(f"{what} must be matrices [tokens, dim] of a vector at least, one for each text")
    return texts
