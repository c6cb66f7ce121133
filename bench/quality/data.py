"""Examples with known answers, from the folders of the data sets."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minibert.datasets import read_columns, read_conll
from minibert.evaluate import metrics

#: Ranks that count for nDCG.
DEPTH = 10
#: Of a sentence, spaces from which on a phrase of SST-2 counts as one; and sentences that make a passage.
WHOLE, PASSAGE = 19, 6


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


def wnut17_training_texts(data: Path) -> list[str]:
    """Training texts of WNUT17, and tweets of two other sets: entities unread, from the folder of all data."""
    found = [" ".join(words) for words, _ in read_conll(data / "wnut17/train.conll.gz")]
    for name in ("emotion", "irony"):
        found += [text for (text,) in read_columns(data / f"tweeteval_{name}/train.tsv.gz", ["text"])]
    return found


def sentences(data: Path) -> list[str]:
    """English sentences and passages, each once, for trainings that need no labels.

    Nothing is from what judges sentence embeddings: STS-B's dev and test sets, and Cranfield.
    """
    plain = {"trec/train.tsv.gz": "text", "subj/all.tsv.gz": "text", "banking77/train.tsv.gz": "text"}
    found = stsb_training_texts(data / "stsb") + wnut17_training_texts(data)
    for name, column in plain.items():
        found += [text for (text,) in read_columns(data / name, [column])]
    found += [text for (text,) in read_columns(data / "sst2/train.tsv.gz", ["sentence"]) if text.count(" ") >= WHOLE]
    with gzip.open(data / "restaurant8k/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        found += [json.loads(line)["text"] for line in lines]
    answers: dict[str, list[str]] = defaultdict(list)
    for question, answer in read_columns(data / "trecqa_wang/train.tsv.gz", ["question", "answer"]):
        answers[question].append(answer)
    for question, known in answers.items():
        found += [question, *known, *(" ".join(known[at : at + PASSAGE]) for at in range(0, len(known), PASSAGE))]
    with gzip.open(data / "xquad/xquad.en.json.gz", "rt", encoding="utf-8") as file:
        paragraphs = [each for article in json.load(file)["data"] for each in article["paragraphs"]]
    for each in paragraphs:
        found += [each["context"], *each["context"].split(". "), *(asked["question"] for asked in each["qas"])]
    return list(dict.fromkeys(text for text in found if text.strip()))


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


def write_texts(texts: Iterable[str], path: Path) -> None:
    """Writes a table of one column, "text"."""
    lines = ("text", *(" ".join(text.split()) for text in texts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ndcg(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """NDCG (Jarvelin and Kekalainen 2002) of each query's ranking by [queries, documents] of scores."""
    orders = np.argsort(-scores, axis=1, kind="stable")
    rows = zip(relevant.astype(float), orders, strict=True)
    return np.array([metrics.ndcg(gains[order], DEPTH) for gains, order in rows])
