"""Compile the kernels for this machine now and keep them, so that the next process answers at once."""

from __future__ import annotations

import argparse
import os
import time

from minibert.cli import console

HELP = "compile the kernels for this machine and keep them"
EXAMPLES = ("warmup",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fill the kernel cache and say where it is: the kernels are the same for every model."""
    from minibert.engine.library import cache_path, kernels

    start = time.perf_counter()
    loaded = kernels()
    isa = loaded.isa
    seconds = time.perf_counter() - start
    path = cache_path(isa)
    kept = os.path.isfile(path) and not loaded.prebuilt
    if arguments.json:
        found = {"isa": isa, "prebuilt": loaded.prebuilt, "seconds": seconds, "cache": str(path) if kept else None}
        console.say_json(found)
    elif loaded.prebuilt:
        console.say(f"kernels for {isa}: ready in {console.milliseconds(seconds)}, carried by the package")
    else:
        where = f"kept in {path}" if kept else f"not kept, as {path.parent} cannot be written: set MINIBERT_CACHE"
        console.say(f"kernels for {isa}: ready in {console.milliseconds(seconds)}, {where}")
    return 0
