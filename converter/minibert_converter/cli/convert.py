"""Turn a Hugging Face checkpoint folder into one model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minibert.cli import console
from minibert.cli.eval import compare
from minibert.cli.options import numbers, positive
from minibert.errors import InputError
from minibert_converter.cli import budget

if TYPE_CHECKING:
    from minibert_converter.report import Report

HELP = "turn a checkpoint folder into one model file"


#: Options that stand for passes of a recipe.
FLAGS = (
    "vocab_from",
    "prune",
    "prune_method",
    "prune_budget",
    "share",
    "share_rank",
    "embeddings",
    "quantize",
    "prune_tokens",
    "early_exit",
    "exit_tolerance",
    "seed",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="SRC", help="a folder with config.json, weights and tokenizer")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--task", metavar="TASK", help="what the model is for, such as fill-mask (default: as SRC says)"
    )
    parser.add_argument(
        "--recipe", metavar="TOML", help="a file that says what to do, pass after pass, instead of the flags below"
    )
    parser.add_argument(
        "--quantize", choices=("int8", "int4", "codebook", "none"), help="how weights are kept (default: int8)"
    )
    parser.add_argument(
        "--vocab-from", metavar="TEXTS", help="keep only the words of these texts, and what spells any other"
    )
    parser.add_argument(
        "--share", metavar="LAYERS", help='layers that share their matrices: "2+3,4+5", pairs, sandwich or similar:N'
    )
    parser.add_argument(
        "--share-rank",
        type=positive,
        metavar="N",
        help="rank of what a layer adds to each shared matrix (default: none)",
    )
    parser.add_argument(
        "--embeddings",
        action="append",
        metavar="FORM",
        help="how words are kept: int8, int4, codebook, codebook:8, low-rank:128; repeatable, one after another",
    )
    parser.add_argument("--calibrate", metavar="TEXTS", help="a file of texts like those to come, one a line")
    parser.add_argument(
        "--prune",
        action="append",
        metavar="WHAT:PART",
        help="remove a part: 4x4:0.5 (blocks of weights), heads:0.33, ffn:0.5, layers:2 or layers:1,3; repeatable",
    )
    parser.add_argument(
        "--prune-method",
        choices=("second-order", "magnitude"),
        help="remove what changes the answers to texts least, or the smallest weights (default: second-order)",
    )
    parser.add_argument(
        "--prune-budget",
        choices=("global", "matrix"),
        help="remove that part of the whole, or of each matrix (default: global if second-order, else matrix)",
    )
    parser.add_argument(
        "--prune-tokens",
        type=numbers(float),
        metavar="P,P,...",
        help="part of a text's tokens that is left after each layer, such as 0.9,0.8,0.6",
    )
    parser.add_argument(
        "--early-exit",
        type=numbers(int),
        nargs="?",
        const=(),
        metavar="LAYER,...",
        help="let a classifier answer after these layers where it is sure (default: all but the last)",
    )
    parser.add_argument(
        "--exit-tolerance",
        type=float,
        metavar="PART",
        help="part of the texts whose label early exit may change (default: 0.02)",
    )
    parser.add_argument("--max-length", type=positive, metavar="N", help="tokens to read of a text by default")
    parser.add_argument("--report", metavar="HTML", help="draw what became of each part on a page")
    parser.add_argument("--seed", type=int, metavar="N", help="of random choices (default: 0)")
    budget.configure(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Convert, then print what became of each part."""
    from minibert.progress import Stages
    from minibert_converter.convert import convert

    if arguments.report and not Path(arguments.report).resolve().parent.is_dir():
        raise InputError(f"{Path(arguments.report).parent}: no such folder; make it first")
    flags = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    found, scored = None, []
    with Stages() as stages:
        if budget.wanted(arguments):
            combine = ("seed", "vocab_from")
            if others := [name for name in (*flags, "recipe") if name not in combine and getattr(arguments, name)]:
                raise InputError(f"a budget finds the recipe itself: leave out --{others[0].replace('_', '-')}")
            report, found = budget.convert_within(arguments, stages)
        else:
            report = convert(
                arguments.source,
                arguments.output,
                task=arguments.task,
                calibrate=arguments.calibrate,
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
