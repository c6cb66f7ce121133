"""See it work: find texts by what they mean, or convert the repository's small model and compare it with before."""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from typing import Any

from minibert.cli import console
from minibert.cli.options import add_force
from minibert.errors import InputError

HELP = "see it work: search by meaning, or convert a small model"
EXAMPLES = (
    "demo",
    "demo banking77 -o banking.safetensors",
)

DOCUMENTS = (
    "Refunds reach the card that you paid with within five days.",
    "Parcels leave our warehouse every morning at nine.",
    "A forgotten password is changed on the sign-in page.",
    "The battery lasts ten hours, and charges in one.",
    "The museum is closed on Mondays and on public holidays.",
    "Bake the bread for forty minutes, until the crust is brown.",
    "The trail to the summit is steep, and icy until May.",
    "Interest rates stayed where they were this quarter.",
    "The striker scored twice in the last five minutes.",
    "Plants on a sunny windowsill want water every other day.",
    "The train to the airport runs every half hour, at night too.",
    "Two paracetamol at most every six hours, and see a doctor if the fever stays.",
)
QUESTIONS = (
    "how do I get my money back?",
    "I can't log in any more",
    "which team won the match?",
    "getting to my flight late in the evening",
    "my head hurts and I'm hot",
)
BEST = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("minilm", "banking77"),
        metavar="{minilm,banking77}",
        help="search with the model of 'minibert[minilm]', or convert the classifier that the repository carries, and "
        "measure it before and after (default: minilm where it is installed)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="keep the converted model here")
    add_force(parser)
    parser.add_argument("--backend", metavar="NAME", help="how kernels run (default: the fastest that runs here)")
    parser.add_argument("--json", action="store_true", help="print the figures and answers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Search, or convert."""
    from minibert.format.carried import carried_file

    if arguments.what == "banking77" or (arguments.what is None and carried_file("minilm") is None):
        return import_module("minibert_converter.cli.demo").run(arguments)
    return _search(arguments)


def _search(arguments: argparse.Namespace) -> int:
    """Load the model, encode the documents, and find the best for each question."""
    import minibert

    if arguments.output is not None:
        raise InputError("-o keeps the model of `minibert demo banking77`: that of minilm is not converted")
    start = time.perf_counter()
    model = minibert.load("minilm", backend=arguments.backend)
    loaded = time.perf_counter()
    model.warmup()  # in a checkout kernels may have to be compiled
    ready = time.perf_counter()
    documents = model.encode(list(DOCUMENTS))
    encoded = time.perf_counter()
    scores = model.similarity(model.encode(list(QUESTIONS)), documents)
    answers = [
        [{"text": DOCUMENTS[place], "score": float(row[place])} for place in (-row).argsort()[:BEST]] for row in scores
    ]
    if arguments.json:
        figures: dict[str, Any] = {
            "bytes": model.size,
            "backend": model.engine.backend,
            "seconds_to_load": loaded - start,
            "seconds_to_encode": encoded - ready,
        }
        found = [{"text": text, "best": best} for text, best in zip(QUESTIONS, answers, strict=True)]
        console.say_json({"model": str(model.path), **figures, "answers": found}, indent=2)
        return 0
    console.say(
        f"{console.bold('all-MiniLM-L6-v2')}: {console.megabytes(model.size)}, loaded in "
        f"{console.milliseconds(loaded - start)}; {len(DOCUMENTS)} texts became vectors in "
        f"{console.milliseconds(encoded - ready)}\n"
    )
    for text, best in zip(QUESTIONS, answers, strict=True):
        console.say(f"  {text}")
        for each in best:
            console.say(f"    {console.green(format(each['score'], '.2f'))}  {each['text']}")
    console.say('\nIn Python: minibert.load("minilm").encode(["a text"]); here: minibert encode minilm "a text"')
    return 0
