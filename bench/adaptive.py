"""What token pruning and early exit are worth: score and time with and without, on labelled texts, one at a time.

    python bench/adaptive.py FILE DATA [--rounds N]

FILE comes from `minibert convert --prune-tokens ... --early-exit`; DATA is what `minibert eval` takes for it. Each
round runs every text through each variant in turn, on one thread; tokenizing is not timed. The ratio is to the same
file with both switched off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import minibert
from minibert.cli.data import read_columns
from minibert.evaluate import evaluate

VARIANTS: dict[str, dict[str, Any]] = {
    "neither": {"early_exit": False, "token_pruning": False},
    "token pruning": {"early_exit": False, "token_pruning": True},
    "early exit": {"early_exit": True, "token_pruning": False},
    "both": {"early_exit": True, "token_pruning": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("--label", default="label", help="column of the labels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = read_columns(arguments.data, [arguments.text, arguments.label])
    models = {name: minibert.load(arguments.file, threads=1, **options) for name, options in VARIANTS.items()}
    texts = [text for text, _label in rows]
    ids = [models["neither"].tokenizer.encode(text).ids for text in texts]
    truth = [label for _text, label in rows]
    scores = {name: evaluate(model, texts, truth)["accuracy"] for name, model in models.items()}
    ratios: dict[str, list[float]] = {name: [] for name in models}
    for _round in range(arguments.rounds):
        seconds = {name: timed(model, ids) for name, model in models.items()}
        for name, spent in seconds.items():
            ratios[name].append(seconds["neither"] / spent)
    found = {
        name: {"accuracy": scores[name], "speed": statistics.median(each), "lowest": min(each), "highest": max(each)}
        for name, each in ratios.items()
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print("| | accuracy | speed |\n|---|---|---|")
    for name, each in found.items():
        print(
            f"| {name} | {each['accuracy']:.2%} | {each['speed']:.2f} ({each['lowest']:.2f} to {each['highest']:.2f}) |"
        )


def timed(model: minibert.Model, ids: list[list[int]]) -> float:
    """Seconds for all texts, one after another."""
    start = time.perf_counter()
    for text in ids:
        model.forward([text])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
