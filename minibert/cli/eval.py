"""Measure a model on a table of examples with known answers."""

from __future__ import annotations

import argparse
from typing import Any

from minibert.cli import console
from minibert.cli.data import read_columns
from minibert.cli.options import add_model, load_model

HELP = "measure a model on examples with known answers"

#: How figures are called for people, and whether they are shares, shown in percent.
FIGURES = {
    "accuracy": ("accuracy", True),
    "exact_match": ("exact match", True),
    "micro_f1": ("micro F1", True),
    "macro_f1": ("macro F1", True),
    "pearson": ("Pearson", False),
    "spearman": ("Spearman", False),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("data", metavar="DATA", help=".tsv (header line, no quoting), .csv or .jsonl; also .gz")
    parser.add_argument("--text", metavar="COL", required=True, help="the column of texts")
    parser.add_argument("--text-pair", metavar="COL", help="the column of second texts, for pairs")
    parser.add_argument(
        "--label", metavar="COL", required=True, help="the column of labels (by name or number) or scores"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Answer all examples; print the figures that fit the task."""
    figures = measure(arguments)
    if arguments.json:
        console.say_json(figures)
    else:
        rows = [(name, show(figures[key], share)) for key, (name, share) in FIGURES.items() if key in figures]
        rows.append(("texts", f"{figures['texts']:,}"))
        rows.append(("texts a second", f"{figures['texts_per_second']:,.0f}"))
        console.say(console.table(rows))
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `minibert.evaluate` says, with progress on stderr."""
    columns = [arguments.label, arguments.text, *([arguments.text_pair] if arguments.text_pair else [])]
    rows = read_columns(arguments.data, columns)
    model = load_model(arguments)

    from minibert.evaluate import evaluate
    from minibert.progress import Progress

    texts = [(row[1], row[2]) if arguments.text_pair else row[1] for row in rows]
    with Progress("eval", len(rows)) as progress:
        return evaluate(model, texts, [row[0] for row in rows], progress.update)


def show(value: float, share: bool) -> str:
    """A figure for people."""
    return f"{100 * value:.2f} %" if share else f"{value:.4f}"
