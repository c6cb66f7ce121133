"""Train a small, compressed student to answer as a fine-tuned teacher does, and write it as one model file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minibert import files
from minibert.cli import console
from minibert.cli.options import add_force, may_replace
from minibert_converter.cli.training import Lines, add_columns, read_examples

if TYPE_CHECKING:
    from minibert.model import Model

HELP = "train a compressed student of a teacher"
EXAMPLES = (
    "distill --teacher ./checkpoint --recipe recipe.toml --data train.tsv --eval dev.tsv -o student.safetensors",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--teacher",
        metavar="SRC",
        required=True,
        help="a checkpoint, fine-tuned for its task: a folder, or a name on the Hub",
    )
    parser.add_argument("--recipe", metavar="TOML", required=True, help="how: passes, one of them distill")
    parser.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="texts to learn from: .tsv, .csv or .jsonl, for token-classification CoNLL; also .gz; labels optional",
    )
    parser.add_argument("--eval", metavar="DATA", help="texts with labels, on which the student is scored")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    add_force(parser)
    parser.add_argument("--student", metavar="SRC", help="a checkpoint to start from (default: cut out of the teacher)")
    add_columns(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the training (default: torch's)")
    parser.add_argument(
        "--cache", metavar="DIR", help="keep the teacher's answers there: faster from the second epoch on"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew, even where a training was stopped")
    parser.add_argument("--json", action="store_true", help="print the report and the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Train, then print what became of each part and how the student scores."""
    from minibert.format import is_model_file
    from minibert_converter.checkpoints import checkpoint_folder
    from minibert_converter.convert import check_target
    from minibert_converter.distill.dataset import Examples
    from minibert_converter.distill.distill import Watcher, distill

    files.check_target(arguments.output, ours=is_model_file)
    may_replace(arguments, arguments.output)
    lines = Lines()
    with lines:
        for name in ("teacher", "student"):
            if (source := getattr(arguments, name)) is not None:
                setattr(arguments, name, str(checkpoint_folder(source, progress=lines)))
    read = (arguments.student, arguments.recipe, arguments.data, arguments.eval)
    check_target(Path(arguments.teacher), Path(arguments.output), [path for path in read if path is not None])
    with lines:
        report, figures = distill(
            arguments.teacher,
            Examples(*read_examples(arguments, arguments.data, labels=False)),
            arguments.output,
            arguments.recipe,
            student=arguments.student,
            measure=None if arguments.eval is None else _measure(arguments),
            fresh=arguments.fresh,
            threads=arguments.threads,
            cache=arguments.cache,
            watcher=Watcher(lines, lines.moment, lines.score),
        )
    if arguments.json:
        console.say_json({**report.to_json(), "score": figures}, indent=2)
    else:
        console.say(report.table())
        for name, value in figures.items():
            if isinstance(value, float) and name not in ("seconds", "texts_per_second"):
                console.say(f"{name}: {value:.4f}")
    return 0


def _measure(arguments: argparse.Namespace) -> Callable[[Model], dict[str, Any]]:
    """A function that scores a model on the texts of --eval, which are read now."""
    from minibert.evaluate import evaluate, evaluate_entities

    texts, truth = read_examples(arguments, arguments.eval, labels=True)
    assert truth is not None
    if truth and isinstance(truth[0], tuple):
        return lambda model: evaluate_entities(model, [text.split(" ") for text in texts], truth)
    return lambda model: evaluate(model, texts, truth)
