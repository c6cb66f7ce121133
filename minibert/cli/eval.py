"""Measure a model on examples with known answers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.options import add_model, load_model

if TYPE_CHECKING:
    from minibert.evaluate.examples import Options
    from minibert.model import Model

HELP = "measure a model on examples with known answers"
EXAMPLES = (
    "eval model.safetensors test.tsv --text text --label label",
    "eval int8.safetensors test.tsv --against float32.safetensors",
)

#: How figures are called for people, and whether they are shares, shown in percent.
FIGURES = {
    "accuracy": ("accuracy", True),
    "top_5_accuracy": ("among the best five", True),
    "single_token": ("words of one token", True),
    "entity_f1": ("entity F1", True),
    "entity_precision": ("entity precision", True),
    "entity_recall": ("entity recall", True),
    "exact_match": ("exact match", True),
    "f1": ("F1 of words", True),
    "micro_f1": ("micro F1", True),
    "macro_f1": ("macro F1", True),
    "ndcg_at_10": ("nDCG@10", True),
    "mrr": ("MRR", True),
    "pearson": ("Pearson", False),
    "spearman": ("Spearman", False),
}
#: How much was measured.
COUNTS = {"texts": "texts", "queries": "queries", "labels": "labels to choose from"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert.evaluate.examples import TASKS
    from minibert.tasks import ALIASES

    add_model(parser)
    parser.add_argument(
        "data",
        metavar="DATA",
        help=".tsv (header line, no quoting), .csv or .jsonl; for token-classification CoNLL (word, tag); for "
        "question-answering SQuAD's JSON, or .jsonl with question, context and answers; also .gz",
    )
    parser.add_argument(
        "--task", choices=(*TASKS, *ALIASES), metavar="TASK", help=f"{', '.join(TASKS)} (default: the file's own)"
    )
    add_columns(parser)
    parser.add_argument(
        "--labels",
        metavar="A,B",
        help='what to choose from in zero-shot-classification; "a, b",c where one has a comma (default: all there are)',
    )
    parser.add_argument("--template", metavar="TEXT", help="a sentence with {} for the label, in zero-shot")
    parser.add_argument(
        "--against", metavar="FILE", help="another file, such as the same model in float32, to be measured beside it"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_columns(parser: argparse._ActionsContainer) -> None:
    """Where the examples stand in a table: what `options_of` reads."""
    for name, help in (
        ("text", "the column of texts, or of documents, in a table (default: text, sentence, ...)"),
        ("text_pair", "the column of second texts, for pairs (default: sentence2 beside sentence1)"),
        (
            "label",
            "the column of labels (by name or number), scores, masked words, or grades of documents, in a table "
            "(default: label, score, ...)",
        ),
        ("query", "the column of queries, for reranking (default: query)"),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="COL", help=help)


def options_of(arguments: argparse.Namespace) -> Options:
    """What the command line says about the examples."""
    from minibert.evaluate.examples import Options

    return Options(**{name: getattr(arguments, name, None) for name in Options._fields})


def run(arguments: argparse.Namespace) -> int:
    """Answer all examples; print the figures that fit the task."""
    given = [arguments.file, *([] if arguments.against is None else [arguments.against])]
    models = [load_model(argparse.Namespace(**{**vars(arguments), "file": file})) for file in given]
    both = [measured(model, arguments.data, arguments, arguments.task) for model in models]
    figures = both[0]
    if arguments.json:
        console.say_json(figures if len(both) == 1 else {**figures, "against": both[1]})
    else:
        header = ("", str(arguments.file), str(arguments.against), "difference") if len(both) > 1 else None
        console.say(console.table(compare(both), header))
    return 0


def compare(both: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Lines of the figures of one model, or of two and what the first has more."""
    first = both[0]
    rows = []
    for key, (name, share) in FIGURES.items():
        if key in first:
            more = [show(first[key] - both[1][key], share)] if len(both) > 1 else []
            rows.append((name, *(show(each[key], share) for each in both), *more))
    blank = [""] * (len(both) - 1)
    rows += [(name, *(f"{each[key]:,}" for each in both), *blank) for key, name in COUNTS.items() if key in first]
    rows.append(("texts a second", *(f"{each['texts_per_second']:,.0f}" for each in both), *blank))
    return rows


def measured(model: Model, data: str, arguments: argparse.Namespace, task: str | None = None) -> dict[str, Any]:
    """What `evaluate_file` says of a model, with progress on stderr; the columns are those of the command line."""
    from minibert.evaluate.examples import evaluate_file
    from minibert.progress import Progress

    with Progress("eval") as progress:
        return evaluate_file(model, data, options_of(arguments), task=task, progress=progress)


def show(value: float, share: bool) -> str:
    """A figure for people."""
    return f"{100 * value:.2f} %" if share else f"{value:.4f}"
