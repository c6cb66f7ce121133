"""Measure a model on examples with known answers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from minibert.cli import console
from minibert.cli.answers import ALIASES
from minibert.cli.data import read_columns, read_conll, read_questions
from minibert.cli.options import add_model, load_model
from minibert.errors import InputError

if TYPE_CHECKING:
    from minibert.model import Model

HELP = "measure a model on examples with known answers"

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
    parser.add_argument("--text", metavar="COL", help="the column of texts, or of documents, in a table")
    parser.add_argument("--text-pair", metavar="COL", help="the column of second texts, for pairs")
    parser.add_argument(
        "--label",
        metavar="COL",
        help="the column of labels (by name or number), scores, masked words, or grades of documents, in a table",
    )
    parser.add_argument("--query", metavar="COL", help="the column of queries, for reranking")
    parser.add_argument(
        "--labels", metavar="A,B", help="what to choose from in zero-shot-classification (default: all in the table)"
    )
    parser.add_argument("--template", metavar="TEXT", help="a sentence with {} for the label, in zero-shot")
    parser.add_argument(
        "--against", metavar="FILE", help="another file, such as the same model in float32, to be measured beside it"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Answer all examples; print the figures that fit the task."""
    figures = measure(arguments)
    both = [figures]
    if arguments.against is not None:
        both.append(measure(argparse.Namespace(**{**vars(arguments), "file": arguments.against})))
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


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `minibert.evaluate` says, with progress on stderr."""
    model = load_model(arguments)
    name = arguments.task
    if name is None:
        implied = {"reranking": arguments.query, "zero-shot-classification": arguments.labels}
        name = next((task for task, option in implied.items() if option is not None), model.task.kind)
    name = ALIASES.get(name, name)
    task = TASKS[name]
    for option in OWN_OPTIONS:
        given = getattr(arguments, option) is not None
        if given and option not in task.columns + task.options:
            raise InputError(f"--{option.replace('_', '-')} is no option of {name}")
        if not given and option in task.columns:
            needed = " and ".join(f"--{column} COL" for column in task.columns)
            raise InputError(f"a table for {name} needs {needed}")
    model.need(*task.kinds)

    from minibert.progress import Progress

    rows = task.read(arguments)
    with Progress("eval", len(rows)) as progress:
        return task.measure(model, rows, arguments, progress.update)


def _table(arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Label and text of each row, and what comes before or after the text."""
    columns = [arguments.label, arguments.query, arguments.text, arguments.text_pair]
    return read_columns(arguments.data, [column for column in columns if column is not None])


def _labels(model: Model, rows: Any, arguments: argparse.Namespace, progress: Callable[[int], None]) -> dict[str, Any]:
    from minibert.evaluate import evaluate

    texts = [row[1:] if arguments.text_pair else row[1] for row in rows]
    return evaluate(model, texts, [row[0] for row in rows], progress)


def _entities(model: Model, rows: Any, _: argparse.Namespace, progress: Callable[[int], None]) -> dict[str, Any]:
    from minibert.evaluate import evaluate_entities

    return evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows], progress)


def _answers(model: Model, rows: Any, _: argparse.Namespace, progress: Callable[[int], None]) -> dict[str, Any]:
    from minibert.evaluate import evaluate_answers

    questions = [(question, context) for question, context, _ in rows]
    return evaluate_answers(model, questions, [right for _, _, right in rows], progress)


def _masks(model: Model, rows: Any, _: argparse.Namespace, progress: Callable[[int], None]) -> dict[str, Any]:
    from minibert.evaluate import evaluate_masks

    return evaluate_masks(model, [text for _, text in rows], [word for word, _ in rows], progress)


def _zero_shot(
    model: Model, rows: Any, arguments: argparse.Namespace, progress: Callable[[int], None]
) -> dict[str, Any]:
    from minibert.evaluate import evaluate_zero_shot

    template = {} if arguments.template is None else {"hypothesis_template": arguments.template}
    texts, truth = [text for _, text in rows], [label for label, _ in rows]
    return evaluate_zero_shot(model, texts, truth, arguments.labels, progress=progress, **template)


def _ranking(model: Model, rows: Any, _: argparse.Namespace, progress: Callable[[int], None]) -> dict[str, Any]:
    from minibert.evaluate import evaluate_ranking

    grades, queries, documents = zip(*rows, strict=True)
    return evaluate_ranking(model, queries, documents, grades, progress)


class Task(NamedTuple):
    """One thing that can be measured.

    Attributes:
        kinds: of models that can do it.
        columns: options of the table that must be given.
        options: others that may be.
        read: the examples.
        measure: figures, given the model, the examples, what was asked for and who is told of progress.
    """

    kinds: tuple[Any, ...]
    columns: tuple[str, ...]
    options: tuple[str, ...]
    read: Callable[[argparse.Namespace], list[Any]]
    measure: Callable[[Model, Any, argparse.Namespace, Callable[[int], None]], dict[str, Any]]


#: Options that only some tasks have.
OWN_OPTIONS = ("text", "text_pair", "label", "query", "labels", "template")
TASKS = {
    "text-classification": Task(("text-classification",), ("text", "label"), ("text_pair",), _table, _labels),
    "sentence-embedding": Task(("sentence-embedding",), ("text", "label"), ("text_pair",), _table, _labels),
    "token-classification": Task(("token-classification",), (), (), lambda given: read_conll(given.data), _entities),
    "question-answering": Task(("question-answering",), (), (), lambda given: read_questions(given.data), _answers),
    "fill-mask": Task(("fill-mask",), ("text", "label"), (), _table, _masks),
    "zero-shot-classification": Task(
        ("text-classification",), ("text", "label"), ("labels", "template"), _table, _zero_shot
    ),
    "reranking": Task(("text-classification", "sentence-embedding"), ("query", "text", "label"), (), _table, _ranking),
}


def show(value: float, share: bool) -> str:
    """A figure for people."""
    return f"{100 * value:.2f} %" if share else f"{value:.4f}"
