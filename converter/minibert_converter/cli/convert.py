"""Turn a Hugging Face checkpoint folder into one model file."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibert import files
from minibert.cli import console
from minibert.cli.eval import compare
from minibert.cli.options import positive
from minibert.errors import InputError
from minibert_converter.cli import budget

HELP = "turn a checkpoint folder into one model file"


#: Options that name what is read.
INPUTS = ("source", "base", "recipe", "calibrate", "vocab_from", "eval")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert_converter.recipe.flags import FLAGS

    parser.add_argument("source", metavar="SRC", help="a folder with config.json, weights and tokenizer")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--task", metavar="TASK", help="what the model is for, such as fill-mask (default: as SRC says)"
    )
    parser.add_argument(
        "--route",
        metavar="NAME",
        help="of a sentence-transformers Router, the route to take, such as query or document",
    )
    parser.add_argument(
        "--base", metavar="FOLDER", help="of an adapter of PEFT, its base model (default: the one that SRC names)"
    )
    parser.add_argument(
        "--recipe", metavar="TOML", help="a file that says what to do, pass after pass, instead of the flags below"
    )
    for option in FLAGS.values():
        parser.add_argument(option.flag, **option.argument)
    parser.add_argument("--max-length", type=positive, metavar="N", help="tokens to read of a text by default")
    parser.add_argument("--report", metavar="HTML", help="draw what became of each part on a page")
    budget.configure(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Convert, then print what became of each part."""
    from minibert.progress import Stages
    from minibert_converter.convert import check_target, convert
    from minibert_converter.recipe.flags import FLAGS
    from minibert_converter.report_page import write_page

    inputs = [path for name in INPUTS if (path := getattr(arguments, name)) is not None]
    check_target(Path(arguments.source), Path(arguments.output), inputs)
    if arguments.report:
        files.check_target(arguments.report, [*inputs, arguments.output])
    budget.check_examples(arguments)
    flags = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    found, scored = None, []
    with Stages() as stages:
        if budget.wanted(arguments):
            given = (*flags, *(["recipe"] if arguments.recipe else []))
            if others := [name for name in given if name not in budget.combines(arguments)]:
                raise InputError(f"a budget finds the recipe itself: leave out --{others[0].replace('_', '-')}")
            report, found = budget.convert_within(arguments, stages)
        else:
            report = convert(
                arguments.source,
                arguments.output,
                task=arguments.task,
                route=arguments.route,
                max_length=arguments.max_length,
                base=arguments.base,
                progress=stages,
                recipe=arguments.recipe,
                **flags,
            )
            if arguments.eval is not None:
                scored = budget.before_and_after(arguments, convert, stages)
    proposed = budget.proposed(arguments)
    if arguments.report:
        title = f"{arguments.source} in minibert"
        write_page(report, arguments.report, title, [*inputs, arguments.output])
    if arguments.json:
        value = report.to_json()
        if found is not None:
            value["search"] = found.to_json()
        if proposed:
            value["target"] = proposed
        if scored:
            value["eval"] = dict(zip(("after", "before"), scored, strict=True))
        console.say_json(value, indent=2)
    else:
        console.say(report.table())
        if found is not None:
            console.say(found.table())
        for sentence in proposed:
            console.say(f"target: {sentence}")
        if scored:
            console.say(console.table(compare(scored), ("", "after", "before", "difference")))
    return 0
