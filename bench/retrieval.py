"""Retrieval and reranking with sentence embeddings: what quantizing costs, float32 against int8.

    python bench/retrieval.py float32.safetensors int8.safetensors --data ../shared/data

Cranfield: every abstract is ranked for every query by the similarity of their vectors; nDCG@10 (Jarvelin and
Kekalainen 2002), an abstract being relevant or not. TREC-QA (Wang et al. 2007): the candidate sentences of each
question are ranked; mean reciprocal rank, over questions that have both right and wrong candidates.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import minibert
from minibert.evaluate import evaluate_ranking
from minibert.tasks import metrics

#: Ranks that count for nDCG.
DEPTH = 10


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a .tsv file with a header and no quoting."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def cranfield(model: minibert.Model, folder: Path) -> dict[str, float]:
    """Mean nDCG over the queries that have relevant abstracts."""
    relevant: dict[str, set[str]] = defaultdict(set)
    for row in rows(folder / "qrels.tsv"):
        if int(row["grade"]) > 0:
            relevant[row["query_id"]].add(row["doc_id"])
    queries = {row["query_id"]: row["text"] for row in rows(folder / "queries.tsv") if row["query_id"] in relevant}
    documents = {row["doc_id"]: row["text"] for row in rows(folder / "corpus.tsv.gz")}
    similar = model.similarity(
        model.encode_query(list(queries.values())),
        model.encode_document(list(documents.values()), show_progress_bar=True),
    )
    names = list(documents)
    scores = []
    for query, row in zip(queries, similar, strict=True):
        gains = np.array([name in relevant[query] for name in names], float)
        scores.append(metrics.ndcg(gains[np.argsort(-row, kind="stable")], DEPTH))
    return {"queries": len(queries), "ndcg@10": float(np.mean(scores))}


def trec_qa(model: minibert.Model, folder: Path) -> dict[str, float]:
    """Mean reciprocal rank of the first right answer."""
    table = list(rows(folder / "test.tsv.gz"))
    figures = evaluate_ranking(model, *([row[column] for row in table] for column in ("question", "answer", "label")))
    return {"questions": figures["queries"], "mrr": figures["mrr"]}


def main() -> int:
    """Measure each file; with two, also say how far apart they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="sentence-embedding models")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cranfield/ and trecqa_wang/")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    figures = []
    for path in arguments.files:
        model = minibert.load(path, threads=arguments.threads)
        found = {
            "file": Path(path).name,
            "cranfield": cranfield(model, arguments.data / "cranfield"),
            "trec_qa": trec_qa(model, arguments.data / "trecqa_wang"),
        }
        figures.append(found)
        sys.stdout.write(json.dumps(found) + "\n")
    if len(figures) == 2:
        first, second = figures
        points = {
            "ndcg@10": 100 * (second["cranfield"]["ndcg@10"] - first["cranfield"]["ndcg@10"]),
            "mrr": 100 * (second["trec_qa"]["mrr"] - first["trec_qa"]["mrr"]),
        }
        sys.stdout.write(json.dumps({"points apart": points}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
