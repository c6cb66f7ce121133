"""Budgets on a real model: what `minibert convert` makes of them.

    python -m bench.quality.budget SENTENCE_MINILM ../shared/data/stsb

The searches calibrate on sentences of the training set, labels unread; the score is the Spearman correlation on the
dev set. A budget takes minutes; its figures are kept in bench/results/, so that a run can be continued. Fills the table
of docs/COMPRESSION.md.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import minibert
from bench.pages import DOCS, RESULTS, fill
from minibert.cli.data import read_columns
from minibert.evaluate import evaluate

CALIBRATION_TEXTS = 1024
KEPT = RESULTS / "budget.json"
BUDGETS = (["--max-size", "8MB"], ["--min-score", "0.99"])


def children_seconds() -> float:
    """CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="the folder of a sentence embedder")
    parser.add_argument("data", type=Path, help="the folder of STS-B")
    parser.add_argument("--again", action="store_true", help="search anew what is known")
    arguments = parser.parse_args()
    dev = arguments.data / "dev.tsv.gz"
    rows = read_columns(dev, ["score", "sentence1", "sentence2"])
    pairs, truth = [row[1:] for row in rows], [row[0] for row in rows]
    train = read_columns(arguments.data / "train.tsv.gz", ["sentence1", "sentence2"])
    texts = random.Random(0).sample([text for row in train for text in row], CALIBRATION_TEXTS)
    columns = ["--text", "sentence1", "--text-pair", "sentence2", "--label", "score"]

    known = json.loads(KEPT.read_text()) if KEPT.is_file() and not arguments.again else {}
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        calibration = Path(folder) / "texts.txt"
        calibration.write_text("\n".join(texts), encoding="utf-8")
        command = [sys.executable, "-m", "minibert", "convert", str(arguments.checkpoint), "--calibrate", calibration]
        for budget in BUDGETS:
            asked = " ".join(budget)
            if asked in known:
                continue
            file, before = Path(folder) / "model.safetensors", children_seconds()
            scored = ["--eval", str(dev), *columns] if "--min-score" in budget else []
            done = subprocess.run([*command, "-o", file, *budget, *scored], capture_output=True, text=True)
            minutes = f"{(children_seconds() - before) / 60:.1f}"
            if done.returncode:
                cells = [f"refused: {done.stderr.strip().splitlines()[-1].partition('error: ')[2]}", ""]
            else:
                score = evaluate(minibert.load(file), pairs, truth)["spearman"]
                cells = [f"{file.stat().st_size / 1e6:.2f} MB", f"{100 * score:.2f}"]
                file.unlink()
            known[asked] = [*cells, minutes]
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_text(json.dumps(known, indent=1))
            print(asked, *known[asked], sep="  ", flush=True)
    lines = ["| asked | file | Spearman | CPU minutes |", "|---|---|---:|---:|"]
    lines += [f"| `{asked}` | {' | '.join(known[asked])} |" for asked in map(" ".join, BUDGETS)]
    fill(DOCS / "COMPRESSION.md", "quality/budget.py", "\n".join(lines))


if __name__ == "__main__":
    main()
