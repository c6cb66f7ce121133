"""Rankings: documents by how well they answer a query."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minibert.errors import InputError
from minibert.evaluate import metrics
from minibert.evaluate.labels import report
from minibert.model import Model

#: Ranks that count for nDCG.
DEPTH = 10


def evaluate_ranking(
    model: Model,
    queries: Sequence[str],
    documents: Sequence[str],
    grades: Sequence[str | float],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Rank the documents of each query and compare.

    Args:
        model: a cross-encoder (text classification with one output), or a model of vectors.
        queries: a query for each document; documents of the same query are ranked together.
        documents: what to rank.
        grades: how relevant each document is: above 0 it is, and the more the better.
        progress: called with the number of documents ranked since the last call.

    Returns:
        Plain JSON values: "task", "texts", "queries", "seconds", "texts_per_second", and the means over queries, 0 to
        1, of "ndcg_at_10" (Jarvelin and Kekalainen 2002; a grade is its own gain) and "mrr" (one over the rank of the
        first relevant document). Queries whose documents are all relevant alike, or none is, are left out.

    Raises:
        InputError: not as many queries, documents and grades, a grade that is no number, or no query to rank by.
        UnsupportedError: the model does not rank.
    """
    if not len(queries) == len(documents) == len(grades):
        raise InputError(f"each document needs a query and a grade: {len(documents)}, {len(queries)}, {len(grades)}")
    try:
        gains = np.maximum(np.array([float(grade) for grade in grades]), 0)
    except ValueError as error:
        raise InputError(f"grades of documents must be numbers: {error}") from None
    groups: dict[str, list[int]] = defaultdict(list)
    for place, query in enumerate(queries):
        groups[query].append(place)
    asked = {query: places for query, places in groups.items() if len(set(gains[places])) > 1}
    if not asked:
        raise InputError("no query has documents that are more and less relevant: there is nothing to rank")
    start = time.perf_counter()
    ndcg, mrr, ranked = [], [], 0
    for query, places in asked.items():
        scores = _scores(model, query, [documents[place] for place in places])
        by_score = gains[places][np.argsort(-scores, kind="stable")]
        ndcg.append(metrics.ndcg(by_score, DEPTH))
        mrr.append(metrics.reciprocal_rank(by_score))
        ranked += len(places)
        if progress is not None:
            progress(len(places))
    figures = {"queries": len(asked), f"ndcg_at_{DEPTH}": float(np.mean(ndcg)), "mrr": float(np.mean(mrr))}
    return report("reranking", ranked, figures, start)


def _scores(model: Model, query: str, documents: list[str]) -> np.ndarray:
    """How well each document answers: float32 [documents]."""
    scores = np.zeros(len(documents), np.float32)
    for each in model.rank(query, documents):
        scores[each["corpus_id"]] = each["score"]
    return scores
