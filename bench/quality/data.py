"""Examples with known answers, from the folders of the data sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from minibert.datasets import read_columns


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
