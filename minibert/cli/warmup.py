"""Compile the kernels that a model needs and keep them, so that the next process answers at once."""

from __future__ import annotations

import argparse
import time

from minibert.cli import console
from minibert.cli.options import add_model, load_model

HELP = "compile the kernels now and keep them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fill the kernel cache and say where it is."""
    model = load_model(arguments)
    start = time.perf_counter()
    model.warmup()
    seconds = time.perf_counter() - start
    cache = getattr(model.engine, "cache_folder", None)
    if arguments.json:
        console.say_json(
            {"backend": model.engine.backend, "seconds": seconds, "cache": None if cache is None else str(cache)}
        )
    else:
        where = "nothing to keep" if cache is None else f"kept in {cache}"
        console.say(f"{model.engine.backend}: ready in {seconds:.2f} s, {where}")
    return 0
