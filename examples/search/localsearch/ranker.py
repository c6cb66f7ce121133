"""What answers a query: chunks ranked by meaning and by words, both rankings fused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from localsearch.store import MARKS, Store

if TYPE_CHECKING:
    import minibert

Mode = Literal["hybrid", "dense", "words"]
MODES: tuple[Mode, ...] = get_args(Mode)

#: How deep each ranking is read.
DEPTH = 50
#: Chunks that a reranker reads.
RERANKED = 30
#: Of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): how little the first ranks stand out.
K = 60
#: The part of all chunks from which on a word is a common one.
COMMON = 1 / 3
#: Words of a query that are looked for, and its characters that are read: more is no query.
_WORDS, _CHARACTERS = 32, 2000
#: Vectors that are float32 at one time.
_BLOCK = 512
_SNIPPET = 320


@dataclass(frozen=True)
class Hit:
    """A chunk that answers a query.

    Attributes:
        path: the file, from the folder, with "/" between.
        heading: headings above it.
        line: where it begins, from 1.
        start: the same in characters.
        text: all of it.
        snippet: some of it, words of the query between `localsearch.store.MARKS`.
        score: by which hits are ordered: of the fusion, the reranker, or 1 / rank of a single ranking.
        similarity: cosine of its vector and the query's, -1 to 1; None beyond DEPTH, or if not asked for.
        by_meaning: its rank among vectors, from 1; None beyond DEPTH.
        by_words: its rank among words, likewise.
    """

    path: str
    heading: str
    line: int
    start: int
    text: str
    snippet: str
    score: float
    similarity: float | None
    by_meaning: int | None
    by_words: int | None

    def plain(self) -> dict[str, Any]:
        """All of it for JSON, without marks."""
        return {**asdict(self), "snippet": self.snippet.translate(dict.fromkeys(map(ord, MARKS)))}


def fused(*rankings: Iterable[int], k: int = K) -> dict[int, float]:
    """Reciprocal rank fusion: each item's sum of 1 / (k + rank) over the rankings that have it, the best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def words_of(query: str) -> list[str]:
    """The different words of a query, as FTS5 sees them."""
    return list(dict.fromkeys(re.findall(r"[^\W_]+", query.lower())))[:_WORDS]


def expression(words: Iterable[str]) -> str:
    """What FTS5 looks for: any of the words, none of which is syntax. Empty if there are none."""
    return " OR ".join(f'"{word}"' for word in words)


class Vectors:
    """All vectors of an index, in memory as int8; for one thread at a time.

    Args:
        ids: int64 [chunks].
        codes: int8 [chunks, dim].
    """

    def __init__(self, ids: np.ndarray, codes: np.ndarray) -> None:
        self.ids, self._codes = ids, codes
        # One piece of memory for all blocks: a new one for each costs more than the arithmetic.
        self._block = np.empty((min(_BLOCK, len(ids)), codes.shape[1]), np.float32)
        self._lengths = np.ones(len(ids), np.float32)
        for place, block in self._blocks():
            self._lengths[place] = np.maximum(np.linalg.norm(block, axis=1), 1)

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All vectors as float32, some at a time, and where they stand."""
        for start in range(0, len(self.ids), _BLOCK):
            place = slice(start, min(start + _BLOCK, len(self.ids)))
            block = self._block[: place.stop - start]
            np.copyto(block, self._codes[place])
            yield place, block

    def similarities(self, query: np.ndarray) -> np.ndarray:
        """Cosines float32 [chunks] of a query's vector float32 [dim]."""
        query = query / max(float(np.linalg.norm(query)), 1e-12)
        dots = np.empty(len(self.ids), np.float32)
        for place, block in self._blocks():
            np.dot(block, query, out=dots[place])
        return dots / self._lengths


class Ranker:
    """Answers queries from an index; several threads may ask.

    Args:
        store: the index. What other connections change in it is seen by the next query.
        model: the model that made its vectors.
        reranker: a model that reads the best chunks once more, together with the query.
    """

    def __init__(self, store: Store, model: minibert.Model, reranker: minibert.Model | None = None) -> None:
        self.store, self.model, self.reranker = store, model, reranker
        self._turn = threading.Lock()
        self._changes, self._vectors = -1, Vectors(np.zeros(0, np.int64), np.zeros((0, 0), np.int8))

    def search(self, query: str, limit: int = 10, mode: Mode = "hybrid") -> list[Hit]:
        """The best chunks for a query, best first; none for a query of nothing but white space.

        Raises:
            SearchError: the index cannot be read.
        """
        query = query[:_CHARACTERS].encode("utf-8", "replace").decode()
        if not query.strip():
            return []
        embedded = self.model.encode_query(query) if mode != "words" else None
        with self._turn:
            words = expression(self._telling(words_of(query)))
            similarity, by_meaning = self._ranked_by_meaning(embedded) if embedded is not None else ({}, [])
            by_words = self.store.ranked_by_words(words, DEPTH) if words and mode != "dense" else []
            scores = fused(by_meaning, by_words) if mode == "hybrid" else _reciprocal(by_meaning or by_words)
            best = list(scores)[: max(limit, RERANKED) if self.reranker else limit]
            rows = self.store.rows(best)
            snippets = self.store.snippets(words, best) if words else {}
        best = [number for number in best if number in rows]
        if self.reranker:
            ranked = self.reranker.rank(query, [rows[number].text for number in best], top_k=limit)
            scores = {best[each["corpus_id"]]: each["score"] for each in ranked}
            best = list(scores)
        ranks = [{number: rank for rank, number in enumerate(found, 1)} for found in (by_meaning, by_words)]
        hits = []
        for number in best:
            row = rows[number]
            snippet = snippets.get(number, "")
            if MARKS[0] not in snippet:  # a word of the heading, or none
                snippet = row.text[:_SNIPPET] + ("…" if len(row.text) > _SNIPPET else "")
            found = similarity.get(number), *(rank.get(number) for rank in ranks)
            hits.append(Hit(*row, snippet, scores[number], *found))
        return hits

    def _telling(self, words: list[str]) -> list[str]:
        """The words without those that many chunks have, which tell little and take long; all, if none is left."""
        most = max(self.store.counts()[1] * COMMON, DEPTH)
        return [word for word in words if self.store.matching(expression([word])) <= most] or words

    def counts(self) -> tuple[int, int]:
        """How many files and chunks there are."""
        with self._turn:
            return self.store.counts()

    def length_at(self, path: str, start: int) -> int:
        """As of the index."""
        with self._turn:
            return self.store.length_at(path, start)

    def _ranked_by_meaning(self, query: np.ndarray) -> tuple[dict[int, float], list[int]]:
        """Cosines by chunk, and the best chunks in order."""
        if (changes := self.store.changes()) != self._changes:
            self._vectors, self._changes = Vectors(*self.store.vectors()), changes
        similarities = self._vectors.similarities(query)
        depth = min(DEPTH, len(similarities))
        best = np.argpartition(-similarities, depth - 1)[:depth] if depth else np.zeros(0, np.int64)
        best = best[np.argsort(-similarities[best], kind="stable")]
        ids = self._vectors.ids[best].tolist()
        return dict(zip(ids, similarities[best].tolist(), strict=True)), ids


def _reciprocal(ranking: list[int]) -> dict[int, float]:
    return {number: 1 / rank for rank, number in enumerate(ranking, 1)}
