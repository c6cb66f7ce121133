"""What commands that train share: the examples that they read, and how they say on stderr how far they are."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any, TextIO

from minibert.datasets import LABEL_COLUMNS, TEXT_COLUMNS, guessed_column, read_columns, read_conll, read_header
from minibert.progress import Stages

#: Seconds between two lines where stderr is no terminal.
PAUSE = 30.0


class Lines(Stages):
    """Stages, then a line a training: steps, loss, density, time left; and the figures of each epoch."""

    def __init__(self, *, stream: TextIO | None = None) -> None:
        super().__init__(stream=stream)
        self._next = 0.0

    def moment(self, now: Any) -> None:
        """A `minibert_converter.distill.training.Moment`."""
        if time.monotonic() < self._next and now.step < now.steps:
            return
        self._next = time.monotonic() + (0.5 if self._terminal else PAUSE)
        minutes, seconds = divmod(round(now.seconds_left), 60)
        line = f"step {now.step:,} of {now.steps:,}: loss {now.loss:.4f}, density {now.density:.0%}"
        line += f", {minutes}:{seconds:02d} left"
        self._write(line if self._terminal else line + "\n")

    def score(self, epochs: int, figures: Mapping[str, Any]) -> None:
        """Figures of the student after some epochs."""
        shown = [f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float) and value <= 1]
        self._write(f"after {epochs} {'epoch' if epochs == 1 else 'epochs'}: {', '.join(shown)}\n")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Where examples stand in a table: what `read_examples` reads."""
    parser.add_argument("--text", metavar="COL", help="the column of texts (default: text, sentence, ...)")
    parser.add_argument("--text-pair", metavar="COL", help="the column of second texts (default: sentence2, if any)")
    parser.add_argument("--label", metavar="COL", help="the column of labels or scores (default: label, score, ...)")


def read_examples(arguments: argparse.Namespace, path: str, *, labels: bool) -> tuple[list[Any], list[Any] | None]:
    """Texts of a file, and their labels, which `labels` demands; None where it has none."""
    if path.removesuffix(".gz").endswith((".conll", ".txt", ".bio")):
        rows = read_conll(path)
        return [" ".join(words) for words, _ in rows], [tags for _, tags in rows]
    header = read_header(path)
    text = arguments.text or guessed_column(path, "text", TEXT_COLUMNS, header)
    pair = arguments.text_pair or ("sentence2" if text == "sentence1" and "sentence2" in header else None)
    label = arguments.label
    if label is None and (labels or any(name in header for name in LABEL_COLUMNS)):
        label = guessed_column(path, "label", LABEL_COLUMNS, header)
    columns = [text, *([pair] if pair else []), *([label] if label else [])]
    table = read_columns(path, columns)
    texts = [(row[0], row[1]) if pair else row[0] for row in table]
    return texts, [row[-1] for row in table] if label else None
