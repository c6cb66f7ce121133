"""Turn a checkpoint, a folder or a name on the Hugging Face Hub, into one model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minibert import files
from minibert.cli import console
from minibert.cli.eval import compare
from minibert.cli.options import positive
from minibert.errors import InputError
from minibert.format import is_model_file
from minibert_converter.cli import budget

if TYPE_CHECKING:
    from minibert_converter.progress import OnProgress

HELP = "turn a checkpoint, a folder or a name on the Hub, into one model file"

#: Options that name what is read.
INPUTS = ("source", "base", "recipe", "calibrate", "vocab_from", "eval")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert_converter.recipe.flags import FLAGS

    parser.add_argument(
        "source",
        metavar="SRC",
        help="a folder with config.json, weights and tokenizer; or a name on the Hub such as BAAI/bge-small-en-v1.5",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: NAME.safetensors, here)")
    parser.add_argument(
        "--revision", metavar="REV", help="of a name on the Hub, a branch, a tag or a commit (default: its main branch)"
    )
    parser.add_argument(
        "--task", metavar="TASK", help="what the model is for, such as fill-mask (default: as SRC says)"
    )
    parser.add_argument(
        "--route",
        metavar="NAME",
        help="of a sentence-transformers Router, the route to take, such as query or document",
    )
    parser.add_argument(
        "--base", metavar="SRC", help="of an adapter of PEFT, its base model (default: the one that the adapter names)"
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


def _find(arguments: argparse.Namespace, progress: OnProgress) -> None:
    """Put the folders of the checkpoint and of its base model in the place of their names; name the output after it."""
    from minibert_converter.checkpoints import checkpoint_folder

    if arguments.output is None:
        source = Path(arguments.source)
        name = source.resolve().name if source.exists() else source.name
        arguments.output = f"{name}.safetensors"
    files.check_target(arguments.output, ours=is_model_file)  # before anything is fetched
    arguments.source = str(checkpoint_folder(arguments.source, arguments.revision, progress))
    if arguments.base is not None:
        arguments.base = str(checkpoint_folder(arguments.base, progress=progress))


def run(arguments: argparse.Namespace) -> int:
    """Convert, then print what became of each part."""
    from minibert.progress import Stages
    from minibert_converter.convert import check_target, convert
    from minibert_converter.recipe.flags import FLAGS
    from minibert_converter.report_page import write_page

    title = f"{arguments.source} in minibert"
    with Stages() as stages:
        _find(arguments, stages)
    inputs = [path for name in INPUTS if (path := getattr(arguments, name)) is not None]
    check_target(Path(arguments.source), Path(arguments.output), inputs)
    if arguments.report:
        files.check_target(arguments.report, [*inputs, arguments.output])
    budget.check_examples(arguments)
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
                route=arguments.route,
                max_length=arguments.max_length,
                base=arguments.base,
                progress=stages,
                recipe=arguments.recipe,
                **flags,
            )
            if arguments.eval is not None:
                scored = budget.before_and_after(arguments, convert, stages)
    if arguments.report:
        write_page(report, arguments.report, title, [*inputs, arguments.output])
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
