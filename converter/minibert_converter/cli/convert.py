"""Turn a Hugging Face checkpoint folder into one model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minibert.cli import console
from minibert.cli.eval import compare
from minibert.cli.options import positive
from minibert.errors import InputError
from minibert_converter.cli import budget

if TYPE_CHECKING:
    from minibert_converter.report import Report

HELP = "turn a checkpoint folder into one model file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert_converter.recipe.flags import FLAGS

    parser.add_argument("source", metavar="SRC", help="a folder with config.json, weights and tokenizer")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--task", metavar="TASK", help="what the model is for, such as fill-mask (default: as SRC says)"
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
    from minibert_converter.convert import convert
    from minibert_converter.recipe.flags import FLAGS

    if arguments.report and not Path(arguments.report).resolve().parent.is_dir():
        raise InputError(f"{Path(arguments.report).parent}: no such folder; make it first")
    flags = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    found, scored = None, []
    with Stages() as stages:
        if budget.wanted(arguments):
            combine = ("seed", "calibrate", "vocab_from")
            if others := [name for name in (*flags, "recipe") if name not in combine and getattr(arguments, name)]:
                raise InputError(f"a budget finds the recipe itself: leave out --{others[0].replace('_', '-')}")
            report, found = budget.convert_within(arguments, stages)
        else:
            report = convert(
                arguments.source,
                arguments.output,
                task=arguments.task,
                max_length=arguments.max_length,
                progress=stages,
                recipe=arguments.recipe,
                **flags,
            )
            if arguments.eval is not None:
                scored = budget.before_and_after(arguments, convert, stages)
    if arguments.report:
        draw_report(report, arguments.report, arguments.source)
    if arguments.json:
        value = report.to_json()
        if found is not None:
            value["search"] = found.to_json()
        if scored:
            value["eval"] = dict(zip(("after", "before"), scored, strict=True))
        console.say_json(value, indent=2)
    else:
        console.say(report.table())
        if found is not None:
            console.say(found.table())
        if scored:
            console.say(console.table(compare(scored), ("", "after", "before", "difference")))
    return 0


def draw_report(report: Report, path: str, source: str) -> None:
    """Write the report's page."""
    from minibert_converter.report_page import write_page

    write_page(report, path, f"{source} in minibert")
