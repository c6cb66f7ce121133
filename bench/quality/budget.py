"""Budgets on a real model: what `minibert convert` makes of them.

    python -m bench.quality.budget SENTENCE_MINILM ../shared/data/stsb

The searches calibrate on sentences of the training set, labels unread; the score is the Spearman correlation on the
dev set. A budget takes minutes; its figures are kept in bench/results/, so that a run can be continued. Fills the table
of docs/COMPRESSION.md.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import minibert
from bench import common
from bench.quality.data import stsb, stsb_training_texts
from minibert.evaluate import evaluate

CALIBRATION_TEXTS = 1024
BUDGETS = (["--max-size", "8MB"], ["--min-score", "0.99"])


def children_seconds() -> float:
    """CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="the folder of a sentence embedder")
    parser.add_argument("data", type=Path, help="the folder of STS-B")
    parser.add_argument("--again", action="store_true", help="search anew what is known")
    arguments = parser.parse_args()
    pairs, truth = stsb(arguments.data)
    texts = common.sample(stsb_training_texts(arguments.data), CALIBRATION_TEXTS)
    columns = ["--text", "sentence1", "--text-pair", "sentence2", "--label", "score"]
    results = common.Results("budget")
    if arguments.again:
        results.clear()
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        calibration = Path(folder) / "texts.txt"
        calibration.write_text("\n".join(texts), encoding="utf-8")
        command = [sys.executable, "-m", "minibert", "convert", str(arguments.checkpoint), "--calibrate", calibration]
        for budget in BUDGETS:
            asked = " ".join(budget)
            if asked in results:
                continue
            file, before = Path(folder) / "model.safetensors", children_seconds()
            scored = ["--eval", arguments.data / "dev.tsv.gz", *columns] if "--min-score" in budget else []
            done = subprocess.run([*command, "-o", file, *budget, *scored], capture_output=True, text=True)
            minutes = f"{(children_seconds() - before) / 60:.1f}"
            if done.returncode:
                cells = [f"refused: {done.stderr.strip().splitlines()[-1].partition('error: ')[2]}", ""]
            else:
                score = evaluate(minibert.load(file), pairs, truth)["spearman"]
                cells = [f"{file.stat().st_size / 1e6:.2f} MB", f"{100 * score:.2f}"]
                file.unlink()
            results.keep(asked, {"cells": [*cells, minutes]})
            print(asked, *results[asked]["cells"], sep="  ", flush=True)
    rows = [[f"`{asked}`", *results[asked]["cells"]] for asked in map(" ".join, BUDGETS)]
    text = common.table(["asked", "file", "Spearman", "CPU minutes"], rows, words=2)
    common.fill(common.DOCS / "COMPRESSION.md", __file__, text)


if __name__ == "__main__":
    main()
