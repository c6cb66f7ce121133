"""Turn a checkpoint, a folder or a name on the Hugging Face Hub, into one model file."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from minibert import files
from minibert.cli import console
from minibert.cli.eval import compare as compare_figures
from minibert.cli.eval import measured
from minibert.cli.options import add_force, may_replace, positive
from minibert.errors import InputError
from minibert_converter.cli import budget

if TYPE_CHECKING:
    from minibert.progress import Stages
    from minibert_converter.comparison import Comparison
    from minibert_converter.progress import OnProgress

HELP = "turn a checkpoint, a folder or a name on the Hub, into one model file"
EXAMPLES = (
    "convert BAAI/bge-small-en-v1.5",
    "convert ./checkpoint -o model.safetensors --quantize int4 --embeddings int4",
    "convert ./checkpoint --max-size 8MB --calibrate texts.txt",
    "convert ./checkpoint --eval test.tsv --report report.html",
)

#: What answers a text with a file, by the file's task, where a text is all that it takes.
_NEXT = {"sentence-embedding": "encode", "text-classification": "predict", "token-classification": "predict"}
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
    add_force(parser)
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
    parser.add_argument(
        "--report",
        metavar="HTML",
        help="draw what became of each part on a page, with size, speed, score and answers before and after",
    )
    budget.configure(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Convert, then print what became of each part."""
    from minibert.progress import Stages
    from minibert_converter.convert import convert
    from minibert_converter.recipe.flags import FLAGS
    from minibert_converter.report_page import write_page

    flags = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    title = f"{arguments.source} in minibert"
    inputs = _check(arguments, flags)
    found, scores, compared = None, [], None
    with Stages() as stages:
        _find(arguments, stages)
        budget.check_examples(arguments)
        if budget.wanted(arguments):
            report, found = budget.convert_within(arguments, stages)
        else:
            report = convert(
                arguments.source,
                arguments.output,
                **_reading(arguments),
                progress=stages,
                on_step=stages.step,
                recipe=arguments.recipe,
                **flags,
            )
        if arguments.report or (arguments.eval is not None and found is None):
            scores, compared = _before_and_after(arguments, stages)
    proposed = budget.proposed(arguments)
    if arguments.report:
        write_page(report, arguments.report, title, [*inputs, arguments.source, arguments.output], compared)
    if arguments.json:
        value = report.to_json()
        if found is not None:
            value["search"] = found.to_json()
        if proposed:
            value["target"] = proposed
        if scores:
            value["eval"] = dict(zip(("before", "after"), scores, strict=True))
        console.say_json(value, indent=2)
    else:
        console.say(report.table())
        if found is not None:
            console.say(found.table())
        for sentence in proposed:
            console.say(f"target: {sentence}")
        if scores:
            console.say(console.table(compare_figures(scores[::-1]), ("", "after", "before", "difference")))
        if command := _NEXT.get(report.task):
            console.note(f'{arguments.output} is written. Try: minibert {command} {quote(arguments.output)} "a text"')
    return 0


def _check(arguments: argparse.Namespace, flags: dict[str, Any]) -> list[str]:
    """Find what is wrong with the command line before anything is fetched, read or made.

    Returns:
        Files and folders that are read.

    Raises:
        InputError: there is something.
    """
    from minibert_converter.convert import check_target
    from minibert_converter.recipe import read_recipe
    from minibert_converter.recipe.flags import recipe_of

    if arguments.output is None:
        source = Path(arguments.source)
        arguments.output = f"{source.resolve().name if source.exists() else source.name}.safetensors"
    inputs = [path for name in INPUTS if (path := getattr(arguments, name)) is not None]
    check_target(Path(arguments.source), Path(arguments.output), inputs)
    if arguments.report:
        files.check_target(arguments.report, [*inputs, arguments.output])
    searched = budget.wanted(arguments)
    given = (*flags, *(["recipe"] if arguments.recipe else []))
    if searched and (others := [name for name in given if name not in budget.combines(arguments)]):
        raise InputError(f"a budget finds the recipe itself: leave out --{others[0].replace('_', '-')}")
    for name in ("recipe", "calibrate", "vocab_from", "eval"):
        if (path := getattr(arguments, name)) is not None and not os.path.exists(path):
            raise InputError(f"--{name.replace('_', '-')} {path}: no such file")
    if arguments.recipe is not None:
        read_recipe(arguments.recipe)
    elif not searched:
        recipe_of(**flags)
    may_replace(arguments, arguments.output, arguments.report)
    return inputs


def _find(arguments: argparse.Namespace, progress: OnProgress) -> None:
    """Put the folders of the checkpoint and of its base model in the place of their names."""
    from minibert_converter.checkpoints import checkpoint_folder

    arguments.source = str(checkpoint_folder(arguments.source, arguments.revision, progress))
    if arguments.base is not None:
        arguments.base = str(checkpoint_folder(arguments.base, progress=progress))


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the checkpoint is read, as `convert` takes it."""
    return {name: getattr(arguments, name) for name in ("task", "route", "max_length", "base")}


def _before_and_after(arguments: argparse.Namespace, stages: Stages) -> tuple[list[dict[str, Any]], Comparison | None]:
    """What `minibert eval` says of the checkpoint in float32 and of the file, if asked; both compared, for a page."""
    from minibert.model import load
    from minibert_converter.calibration.texts import read_texts
    from minibert_converter.comparison import compare
    from minibert_converter.convert import convert

    stages.step(0, 0)
    scores: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="minibert-") as folder:
        path = Path(folder) / "float32"
        convert(arguments.source, path, quantize="none", progress=stages, **_reading(arguments))
        models = load(path), load(arguments.output)
        if arguments.eval is not None:
            scores = [measured(model, arguments.eval, arguments) for model in models]
        if not arguments.report:
            return scores, None
        texts = None if arguments.calibrate is None else read_texts(arguments.calibrate)
        return scores, compare(*models, texts, scores, stages)
