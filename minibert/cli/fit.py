"""Train a classifier of one's own labels on the vectors of a sentence-embedding model, out of a few examples."""

from __future__ import annotations

import argparse
import time
from typing import Any

from minibert.cli import console
from minibert.cli.options import add_force, add_model, load_model, may_replace
from minibert.datasets import LABEL_COLUMNS, TEXT_COLUMNS, guessed_column, read_columns, read_header
from minibert.errors import InputError
from minibert.files import check_target

HELP = "train a classifier on the vectors of a model, out of a few examples, in seconds"
EXAMPLES = (
    "fit minilm examples.tsv -o intents.safetensors",
    "fit minilm examples.tsv -o intents.safetensors --text question --label intent --other-below 0.5",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("examples", metavar="EXAMPLES", help="a table of texts and labels: .tsv, .csv or .jsonl")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the model file to write")
    parser.add_argument("--text", metavar="COL", help="the column of texts (default: text, sentence, ...)")
    parser.add_argument("--label", metavar="COL", help="the column of labels (default: label, ...)")
    parser.add_argument(
        "--C", type=float, metavar="C", help="how much examples count against the penalty on weights (default: 10)"
    )
    parser.add_argument(
        "--class-weight", choices=("balanced",), help="the examples of each label count as much as those of any other"
    )
    parser.add_argument(
        "--other-below", type=float, metavar="P", help="a text whose best label is less probable is called other"
    )
    parser.add_argument("--other", metavar="NAME", help="what such a text is called (default: other)")
    parser.add_argument(
        "--folds", type=int, metavar="N", help="parts for the cross-validated score; 0 for none (default: 5)"
    )
    add_force(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read the examples, fit, write the file, print how good it is."""
    check_target(arguments.output, [arguments.examples, arguments.file])
    if arguments.other is not None and arguments.other_below is None:
        raise InputError("--other needs --other-below, the probability below which a text is called so")
    may_replace(arguments, arguments.output)
    rows = read_columns(arguments.examples, _columns(arguments))
    model = load_model(arguments)
    given = {name: getattr(arguments, name) for name in ("C", "class_weight", "other_below", "other", "folds")}
    start = time.perf_counter()
    fitted = model.fit(
        [text for text, _ in rows],
        [label for _, label in rows],
        **{name: value for name, value in given.items() if value is not None},
    )
    seconds = time.perf_counter() - start
    size = fitted.save(arguments.output, force=True)
    report: dict[str, Any] = fitted.config.report["fit"]
    if arguments.json:
        console.say_json({**report, "seconds": round(seconds, 2), "bytes": size})
        return 0
    console.say(console.table(list(_lines(report, seconds, size))))
    return 0


def _columns(arguments: argparse.Namespace) -> tuple[str, str]:
    """The columns of texts and of labels: those named, else the first that is there of the usual ones."""
    header = read_header(arguments.examples)
    text = arguments.text or guessed_column(arguments.examples, "text", TEXT_COLUMNS, header)
    return text, arguments.label or guessed_column(arguments.examples, "label", LABEL_COLUMNS, header)


def _lines(report: dict[str, Any], seconds: float, size: int) -> list[tuple[str, str]]:
    """Figures for people."""
    lines = [("examples", f"{report['examples']:,}"), ("labels", f"{report['labels']:,}")]
    if not report["converged"]:
        lines.append(("converged", "no: another --C may help"))
    if report["accuracy"] is None:
        lines.append(("accuracy", "unknown: a label has one example alone, or --folds is 0"))
    else:
        lines.append(("accuracy", f"{100 * report['accuracy']:.2f} % in {report['folds']} parts"))
    if report.get("accuracy_of_kept") is not None:
        lines.append(("kept", f"{100 * report['kept']:.2f} %, of which right {100 * report['accuracy_of_kept']:.2f} %"))
    return [*lines, ("seconds", f"{seconds:.1f}"), ("file", f"{size / 1e6:.1f} MB")]
