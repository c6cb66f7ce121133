"""A static model's vectors of ten thousand sentences, text to vector, in turns with model2vec.

    python -m bench.speed.static FOLDER TEXTS [--threads 1]

FOLDER is one of model2vec, which must be installed; TEXTS a file of lines, or a table whose columns --text names. Both
sides read the same texts by the same tokenizers library: with one thread on one CPU, else as each does by default.
Printed are the microseconds of a text, the lowest cosine of two vectors, and of each round model2vec's time over
minibert's: the median, the lowest and the highest.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import common

TURNS = 15
TEXTS = 10_000


def one_thread() -> None:
    """Before anything is imported that has threads of its own."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def texts_of(file: Path, columns: list[str]) -> list[str]:
    """The first TEXTS texts of a file, from all columns."""
    from minibert.datasets import read_columns
    from minibert_converter.calibration.texts import iter_texts

    found = (text for row in read_columns(file, columns) for text in row) if columns else iter_texts(file)
    return list(found)[:TEXTS]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--text", action="append", default=[], metavar="COL", help="a column of texts; repeatable")
    parser.add_argument("--threads", type=int, choices=[1], help="1: one thread on one CPU (default: as by default)")
    arguments = parser.parse_args()
    if arguments.threads:
        one_thread()
    import numpy as np
    from model2vec import StaticModel

    import minibert
    from minibert_converter.convert import convert

    texts = texts_of(arguments.texts, arguments.text)
    theirs = StaticModel.from_pretrained(arguments.folder)
    calls: dict[str, Any] = {"model2vec": partial(theirs.encode, texts)}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("none", "int8"):
            file = Path(folder, kind)
            convert(arguments.folder, file, quantize=kind)
            calls[kind.replace("none", "float32")] = partial(
                minibert.load(file, threads=arguments.threads).encode, texts
            )
        vectors = {name: call() for name, call in calls.items()}
        seconds = common.time_in_turns(calls, TURNS)
    for name in calls:
        dots = [(vectors[each] ** 2).sum(axis=1) for each in (name, "model2vec")]
        cosines = (vectors[name] * vectors["model2vec"]).sum(axis=1) / np.sqrt(np.maximum(dots[0] * dots[1], 1e-30))
        ratios = [a / b for a, b in zip(seconds["model2vec"], seconds[name], strict=True)]
        figures = {
            "runtime": name,
            "threads": arguments.threads or "default",
            "us_a_text": round(1e6 * median(seconds[name]) / len(texts), 1),
            "lowest_cosine": round(float(cosines[dots[1] > 0].min()), 5),
            "ratio": [round(each, 2) for each in (median(ratios), min(ratios), max(ratios))],
        }
        print(json.dumps(figures))
    print(json.dumps(common.describe_machine()))


if __name__ == "__main__":
    main()
