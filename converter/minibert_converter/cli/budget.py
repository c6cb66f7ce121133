"""The part of `minibert convert` that searches: --max-size, --min-score, --max-latency-ratio, and --quantize auto."""

from __future__ import annotations

import argparse
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minibert.cli.eval import add_columns, options_of
from minibert.errors import InputError

if TYPE_CHECKING:
    from minibert.progress import Stages
    from minibert_converter.budget import Score
    from minibert_converter.report import Report

GOALS = ("max_size", "min_score", "max_latency_ratio")
AUTO = "auto"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert_converter.budget.goal import DEFAULT_LOSS
    from minibert_converter.budget.targets import TARGETS

    group = parser.add_argument_group(
        "a budget",
        "instead of saying what to do: find what loses least (with --quantize auto what is fastest), or refuse and say "
        "by how much",
    )
    group.add_argument("--max-size", metavar="SIZE", help="of the file, such as 8MB")
    group.add_argument("--min-score", type=float, metavar="PART", help="of the float32 model's score, such as 0.99")
    group.add_argument(
        "--max-latency-ratio", type=float, metavar="PART", help="of the dense int8 model's time for a text, estimated"
    )
    group.add_argument(
        "--max-loss",
        type=float,
        metavar="PART",
        help="how far --quantize auto may move the answers, as a part of their variance "
        f"(default: {DEFAULT_LOSS:g}, where there is no --min-score)",
    )
    group.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="end the search after so long, with the best file that it has found; what it has measured is kept "
        "beside FILE if it has found none",
    )
    group.add_argument(
        "--target",
        metavar="CPU",
        help=f"where the model will answer ({', '.join(TARGETS)}): --quantize auto is fastest there, times are "
        "estimated for it, and what would be faster is told (default: this machine)",
    )
    group.add_argument(
        "--eval",
        metavar="DATA",
        help="examples that the score is taken on, with the columns of `minibert eval`; --min-score is held to what "
        "they assure of others like them; without a budget they are scored before and after",
    )
    add_columns(group)


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether the command line names a budget.

    Raises:
        InputError: it names columns of examples, but no examples; a loss that nothing keeps to; or no target that
            there is.
    """
    if arguments.target is not None:
        from minibert_converter.budget.targets import find_target

        find_target(arguments.target)
    if arguments.max_loss is not None and arguments.quantize != AUTO:
        raise InputError("--max-loss is for --quantize auto")
    if arguments.quantize == AUTO or any(getattr(arguments, name) is not None for name in GOALS):
        return True
    if arguments.minutes is not None:
        raise InputError("--minutes is for a budget, such as --max-size")
    if arguments.eval is None:
        for name, value in options_of(arguments)._asdict().items():
            if value is not None:
                raise InputError(f"--{name.replace('_', '-')} is a column of --eval's examples")
    return False


def check_examples(arguments: argparse.Namespace) -> None:
    """Read the examples that --eval names, before anything that takes minutes.

    Raises:
        InputError: they are none for what the checkpoint does, or not where the command line says.
    """
    if arguments.eval is not None:
        from minibert.evaluate.examples import read_examples
        from minibert_converter.checkpoints import task_of_checkpoint

        kind = task_of_checkpoint(arguments.source, arguments.task, arguments.route, arguments.base)
        read_examples(arguments.eval, options_of(arguments), kind)


def combines(arguments: argparse.Namespace) -> list[str]:
    """The options of passes that a search leaves to whoever asks: with --quantize auto all ahead of that pass."""
    from minibert_converter.passes.options import options
    from minibert_converter.passes.quantize.recipe import Quantize
    from minibert_converter.passes.registry import PASSES

    names = ["seed", "calibrate", "vocab_from"]
    if arguments.quantize == AUTO:
        ahead = takewhile(lambda kind: kind is not Quantize, PASSES.values())
        names += ["quantize", *(one.keyword for kind in ahead for one in options(kind).values() if one.flag)]
    return names


def convert_within(arguments: argparse.Namespace, stages: Stages) -> tuple[Report, Any]:
    """Search a recipe and write the file; returns the report and what was found."""
    from minibert_converter.budget import Goal, find_target, parse_size, search
    from minibert_converter.budget.goal import DEFAULT_LOSS
    from minibert_converter.calibration.texts import read_texts

    size = None if arguments.max_size is None else parse_size(arguments.max_size)
    fastest, most = arguments.quantize == AUTO, arguments.max_loss
    if fastest and most is None and arguments.min_score is None:
        most = DEFAULT_LOSS
    stages.step(0, 0)
    stages.lines = False  # the search says itself what it does
    found = search(
        arguments.source,
        arguments.output,
        Goal(size, arguments.min_score, arguments.max_latency_ratio, most, fastest),
        texts=None if arguments.calibrate is None else read_texts(arguments.calibrate),
        score=None if arguments.eval is None else lambda path: _score(arguments, path),
        score_key="" if arguments.eval is None else _key(arguments),
        first=_first(arguments),
        seed=arguments.seed or 0,
        task=arguments.task,
        route=arguments.route,
        max_length=arguments.max_length,
        base=arguments.base,
        target=find_target(arguments.target),
        progress=stages,
        say=stages.say,
        minutes=arguments.minutes,
        words_from=arguments.calibrate,
    )
    stages.lines = True
    return found.report, found


def _first(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The passes that are done in any case."""
    from minibert_converter.passes.options import write_table
    from minibert_converter.recipe.flags import FLAGS, recipe_of

    given = {name: getattr(arguments, name) for name in combines(arguments) if name in FLAGS}
    recipe = recipe_of(**given | {"quantize": "none", "calibrate": None})
    return [write_table(each, each.verb()) for each in recipe.passes]


def proposed(arguments: argparse.Namespace) -> list[str]:
    """What the file is expected to take on the target, and what would be faster there, in sentences.

    Nothing without a target; what --quantize auto chooses for one is in the report.
    """
    if arguments.target is None or arguments.quantize == AUTO:
        return []
    from minibert.format import read_model
    from minibert_converter.budget.choice import proposals
    from minibert_converter.budget.targets import find_target

    return proposals(read_model(arguments.output).config, find_target(arguments.target))


def _score(arguments: argparse.Namespace, path: Path) -> Score:
    from minibert.evaluate.spread import evaluate_spread
    from minibert.model import load
    from minibert.progress import Progress
    from minibert_converter.budget import Score

    with Progress("eval") as progress:
        found = evaluate_spread(load(path), arguments.eval, options_of(arguments), progress=progress)
    return Score(found.whole, found.without, found.examples)


def _key(arguments: argparse.Namespace) -> str:
    """Names the examples: a file that changed is another one."""
    path = Path(arguments.eval)
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    columns = " ".join(map(str, options_of(arguments)[:4]))
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {columns}"
