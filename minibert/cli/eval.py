"""Measure a model on a table of examples with known answers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.data import read_columns, read_conll, read_squad
from minibert.cli.options import add_model, load_model
from minibert.errors import InputError

if TYPE_CHECKING:
    from minibert.model import Model

HELP = "measure a model on examples with known answers"

#: How figures are called for people, and whether they are shares, shown in percent.
FIGURES = {
    "accuracy": ("accuracy", True),
    "entity_f1": ("entity F1", True),
    "entity_precision": ("entity precision", True),
    "entity_recall": ("entity recall", True),
    "exact_match": ("exact match", True),
    "f1": ("F1 of words", True),
    "micro_f1": ("micro F1", True),
    "macro_f1": ("macro F1", True),
    "pearson": ("Pearson", False),
    "spearman": ("Spearman", False),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument(
        "data",
        metavar="DATA",
        help=".tsv (header line, no quoting), .csv or .jsonl; for token-classification CoNLL (word, tag); for "
        "question-answering SQuAD's JSON; also .gz",
    )
    parser.add_argument("--text", metavar="COL", help="the column of texts, in a table")
    parser.add_argument("--text-pair", metavar="COL", help="the column of second texts, for pairs")
    parser.add_argument("--label", metavar="COL", help="the column of labels (by name or number) or scores, in a table")
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
    model = load_model(arguments)
    if model.task.kind in _UNTABLED:
        for option in ("text", "text_pair", "label"):
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option.replace('_', '-')} is for tables, which {model.task.kind} does not read")
        return _UNTABLED[model.task.kind](model, arguments.data)
    if arguments.text is None or arguments.label is None:
        raise InputError("a table needs --text COL and --label COL")
    columns = [arguments.label, arguments.text, *([arguments.text_pair] if arguments.text_pair else [])]
    rows = read_columns(arguments.data, columns)

    from minibert.evaluate import evaluate
    from minibert.progress import Progress

    texts = [(row[1], row[2]) if arguments.text_pair else row[1] for row in rows]
    with Progress("eval", len(rows)) as progress:
        return evaluate(model, texts, [row[0] for row in rows], progress.update)


def _entities(model: Model, path: str) -> dict[str, Any]:
    from minibert.evaluate import evaluate_entities
    from minibert.progress import Progress

    rows = read_conll(path)
    with Progress("eval", len(rows)) as progress:
        return evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows], progress.update)


def _answers(model: Model, path: str) -> dict[str, Any]:
    from minibert.evaluate import evaluate_answers
    from minibert.progress import Progress

    rows = read_squad(path)
    questions = [(question, context) for question, context, _ in rows]
    with Progress("eval", len(rows)) as progress:
        return evaluate_answers(model, questions, [right for _, _, right in rows], progress.update)


#: Tasks whose data is no table of texts and labels.
_UNTABLED = {"token-classification": _entities, "question-answering": _answers}


def show(value: float, share: bool) -> str:
    """A figure for people."""
    return f"{100 * value:.2f} %" if share else f"{value:.4f}"
