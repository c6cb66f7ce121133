"""What token pruning and early exit are worth: score and time with and without, on labelled texts, one at a time.

    python -m bench.quality.adaptive FILE DATA --name "SST-2 dev" [--text COLUMN] [--label COLUMN] [--rounds N]

FILE comes from `minibert convert --prune-tokens ... --early-exit`; DATA is what `minibert eval` takes for it. Each
round runs every text through each variant in turn, on one thread; tokenizing is not timed. Speed is relative to the
same file with both switched off. Figures are kept by name in bench/results/adaptive.json, and all of them are written
into docs/COMPRESSION.md.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import minibert
from bench import common
from minibert.datasets import read_columns
from minibert.evaluate import evaluate

VARIANTS: dict[str, dict[str, Any]] = {
    "neither": {"early_exit": False, "token_pruning": False},
    "token pruning": {"early_exit": False, "token_pruning": True},
    "early exit": {"early_exit": True, "token_pruning": False},
    "both": {"early_exit": True, "token_pruning": True},
}


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True, help="what the table calls the data")
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("--label", default="label", help="column of the labels")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = read_columns(arguments.data, [arguments.text, arguments.label])
    results = common.Results("adaptive")
    results.keep(arguments.name, measure(arguments.file, rows, arguments.rounds))
    text = table(results)
    common.fill(common.DOCS / "COMPRESSION.md", __file__, text)
    print(text)


def measure(file: Path, rows: list[tuple[str, ...]], rounds: int) -> dict[str, Any]:
    """Accuracy and speed of each variant, and what the file has been given."""
    models = {name: minibert.load(file, threads=1, **options) for name, options in VARIANTS.items()}
    texts, truth = [text for text, _label in rows], [label for _text, label in rows]
    ids = [models["neither"].tokenizer.encode(text).ids for text in texts]
    seconds = common.time_in_turns({name: partial(one_by_one, model, ids) for name, model in models.items()}, rounds)
    ratios = {
        name: [whole / spent for whole, spent in zip(seconds["neither"], each, strict=True)]
        for name, each in seconds.items()
    }
    architecture = models["both"].config.architecture
    return {
        "exits": [one.threshold for one in architecture.exits],
        "keep_tokens": [round(layer.keep_tokens, 3) for layer in architecture.layers],
        "variants": {
            name: {
                "accuracy": evaluate(model, texts, truth)["accuracy"],
                "speed": statistics.median(ratios[name]),
                "lowest": min(ratios[name]),
                "highest": max(ratios[name]),
            }
            for name, model in models.items()
        },
    }


def one_by_one(model: minibert.Model, ids: list[list[int]]) -> None:
    """All texts, one after another."""
    for text in ids:
        model.forward([text])


def table(results: common.Results) -> str:
    """Markdown: a line for each variant on each data."""
    rows = []
    for data, result in results.items():
        for name, each in result["variants"].items():
            speed = f"{each['speed']:.2f} ({each['lowest']:.2f} to {each['highest']:.2f})"
            rows.append([data, name, f"{each['accuracy']:.2%}", speed])
    return common.table(["", "", "accuracy", "speed (lowest to highest)"], rows, words=2)


if __name__ == "__main__":
    main()
