"""Examples with known answers, from the folders of the data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minibert.datasets import read_columns
from minibert.evaluate import metrics

#: Ranks that count for nDCG.
DEPTH = 10


def stsb(folder: Path, part: str = "dev") -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of sentences of STS-B, and their similarities."""
    rows = read_columns(folder / f"{part}.tsv.gz", ["score", "sentence1", "sentence2"])
    return [(first, second) for _, first, second in rows], [score for score, _, _ in rows]


def stsb_training_texts(folder: Path) -> list[str]:
    """Both sentences of every training pair of STS-B."""
    return [text for row in read_columns(folder / "train.tsv.gz", ["sentence1", "sentence2"]) for text in row]


def sst2(folder: Path) -> tuple[list[str], list[str]]:
    """Sentences of the dev set of SST-2, and their labels."""
    rows = read_columns(folder / "dev.tsv", ["sentence", "label"])
    return [text for text, _ in rows], [label for _, label in rows]


def sst2_training_texts(folder: Path) -> list[str]:
    """Training phrases of SST-2 that have five words or more: it has many that are a word or two."""
    return five_words([text for (text,) in read_columns(folder / "train.tsv.gz", ["sentence"])])


def five_words(texts: Iterable[str]) -> list[str]:
    """Those that have five words or more."""
    return [text for text in texts if text.count(" ") >= 4]


def cranfield(folder: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Queries of Cranfield that have relevant abstracts, all abstracts, and what is relevant: bool [queries, all]."""
    relevant: dict[str, set[str]] = defaultdict(set)
    for query, document, grade in read_columns(folder / "qrels.tsv", ["query_id", "doc_id", "grade"]):
        if int(grade) > 0:
            relevant[query].add(document)
    queries = [row for row in read_columns(folder / "queries.tsv", ["query_id", "text"]) if row[0] in relevant]
    documents = list(read_columns(folder / "corpus.tsv.gz", ["doc_id", "text"]))
    flags = np.array([[name in relevant[query] for name, _ in documents] for query, _ in queries])
    return [text for _, text in queries], [text for _, text in documents], flags


def ndcg(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """NDCG (Jarvelin and Kekalainen 2002) of each query's ranking by [queries, documents] of scores."""
    orders = np.argsort(-scores, axis=1, kind="stable")
    rows = zip(relevant.astype(float), orders, strict=True)
    return np.array([metrics.ndcg(gains[order], DEPTH) for gains, order in rows])
