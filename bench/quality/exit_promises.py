"""Whether early exit keeps what it promises, and what it is worth: one of the tables of docs/COMPRESSION.md.

    python -m bench.quality.exit_promises sst2 SST2_MINILM ../shared/data/sst2 [--rounds N]
    python -m bench.quality.exit_promises banking77 BANKING77_MINILM ../shared/data/banking77

For each promise the checkpoint is converted to int8 with exits, calibrated on training texts, labels unread. On each
set of texts that the conversion has not seen: the part whose label is another one than without exits, the accuracy, and
how many times as fast the engine answers one text after another, on one thread, as the same file with exits off, by
turns in one process. Figures are kept in bench/results/exit_promises.json; the data stays where it is.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minibert
from bench import common
from bench.quality.adaptive import one_by_one
from minibert.datasets import read_columns
from minibert.evaluate import evaluate
from minibert_converter.convert import convert

PROMISES = (0.005, 0.01, 0.02)
CONFIDENCE = 0.95
#: Texts that are timed: of each set so many, at even distances.
TIMED = 400

#: By data: columns, the file of training texts and their least number of words, and the sets by their names.
DATA: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "sst2": ("sentence", "train.tsv.gz", 8, {"SST-2 dev": "dev.tsv", "SST-2 test": "test.tsv.gz"}),
    "banking77": ("text", "train.tsv.gz", 1, {"Banking77 test": "test.tsv.gz"}),
}


def measure(file: Path, sets: dict[str, list[tuple[str, ...]]], rounds: int) -> dict[str, Any]:
    """By set: the part of labels that change, accuracy without and with exits, and speed in each round."""
    models = {name: minibert.load(file, threads=1, early_exit=name == "exits") for name in ("none", "exits")}
    found = {}
    for name, rows in sets.items():
        texts = [text for text, _label in rows]
        answers = {which: [one["label"] for one in model.classify(texts)] for which, model in models.items()}
        ids = [models["none"].tokenizer.encode(text).ids for text in common.sample(texts, TIMED)]
        seconds = common.time_in_turns(
            {which: partial(one_by_one, each, ids) for which, each in models.items()}, rounds
        )
        truth = [label for _text, label in rows]
        right = {which: evaluate(model, texts, truth)["accuracy"] for which, model in models.items()}
        changed = sum(one != other for one, other in zip(answers["none"], answers["exits"], strict=True))
        found[name] = {
            "texts": len(rows),
            "changed": changed / len(rows),
            "accuracy": right,
            "speed": [whole / spent for whole, spent in zip(seconds["none"], seconds["exits"], strict=True)],
        }
    return found


def table(results: common.Results) -> str:
    """Markdown: a line for each set and promise, and for all sets of some data together."""
    rows = []
    for data in DATA:
        sets: dict[str, tuple[str, ...]] = {name: (name,) for name in DATA[data][3]}
        if len(sets) > 1:
            sets[" and ".join(sets)] = tuple(sets)
        for title, names in sets.items():
            for promise in PROMISES:
                if (one := results.get(f"{data} {promise}")) is None:
                    continue
                figures = [one["sets"][name] for name in names]
                texts = [each["texts"] for each in figures]
                changed, before, after = (
                    float(np.average(values, weights=texts))
                    for values in (
                        [each["changed"] for each in figures],
                        [each["accuracy"]["none"] for each in figures],
                        [each["accuracy"]["exits"] for each in figures],
                    )
                )
                speed = figures[0]["speed"] if len(figures) == 1 else []
                rows.append(
                    [
                        f"{title}, {sum(texts):,} texts",
                        f"{promise:.1%}",
                        f"{changed:.2%}",
                        f"{before:.2%}",
                        f"{after:.2%}",
                        f"{statistics.median(speed):.2f} ({min(speed):.2f} to {max(speed):.2f})" if speed else "",
                    ]
                )
    header = ["", "promised", "labels changed", "accuracy", "with exits", "speed (lowest to highest)"]
    return common.table(header, rows)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path, help="the folder of the data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    column, training, words, files = DATA[arguments.data]
    texts = [text for (text,) in read_columns(arguments.folder / training, [column]) if text.count(" ") >= words - 1]
    sets = {name: list(read_columns(arguments.folder / file, [column, "label"])) for name, file in files.items()}
    results = common.Results("exit_promises")
    for promise in () if arguments.draw else PROMISES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "exits.safetensors"
            common.note(f"converting for {promise:.1%}")
            convert(
                arguments.checkpoint,
                file,
                early_exit=(),
                exit_tolerance=promise,
                exit_confidence=CONFIDENCE,
                calibrate=texts,
            )
            exits = minibert.load(file).config.architecture.exits
            kept = {"threshold": exits[0].threshold if exits else None, "sets": measure(file, sets, arguments.rounds)}
        results.keep(f"{arguments.data} {promise}", kept)
    text = table(results)
    common.fill(common.DOCS / "COMPRESSION.md", __file__, text)
    print(text)


if __name__ == "__main__":
    main()
