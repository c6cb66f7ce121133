"""Classifiers fitted to a few examples, beside scikit-learn's: the table of docs/TASKS.md.

    python -m bench.quality.few_shot MINILM.safetensors SENTENCE_MINILM ../shared --peer PYTHON

Of Banking77 (77 intents) and TREC (6 kinds of questions) the first 8 or 32 examples of each label in an order drawn by
lot, or all of them, are fitted by `Model.fit`; and in the peer's environment by LogisticRegression, with the same
examples and C, to the vectors that sentence-transformers makes by the checkpoint. Both answer the whole test set. The
data stays where it is; the peer's vectors are kept in bench/results.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minibert
from bench import common
from minibert.datasets import read_columns
from minibert.tasks.fitting import DEFAULT_C

#: By data set: its name, its files, and the columns of texts and labels.
DATA = {
    "banking77": ("Banking77", "train.tsv.gz", "test.tsv.gz", ["text", "label"]),
    "trec": ("TREC", "train.tsv.gz", "test.tsv", ["text", "coarse"]),
}
SHOTS = (8, 32, None)

#: What the peer's environment runs; it has no minibert.
PEER = """
import json, sys
from pathlib import Path
import numpy as np
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

work = json.load(open(sys.argv[1]))
kept = Path(work["vectors"])
if not kept.exists():
    model = SentenceTransformer(work["checkpoint"], device="cpu")
    np.savez(kept, X=model.encode(work["train"]), Y=model.encode(work["test"]))
vectors = np.load(kept)
found = []
for chosen in work["chosen"]:
    labels = [work["labels"][place] for place in chosen]
    fitted = LogisticRegression(C=work["C"], max_iter=1000).fit(vectors["X"][chosen], labels)
    found.append(float((fitted.predict(vectors["Y"]) == np.array(work["right"])).mean()))
print(json.dumps(found))
"""


def first_of_each(labels: Sequence[str], shots: int | None) -> list[int]:
    """Places of so many examples of each label, or of all."""
    if shots is None:
        return list(range(len(labels)))
    order = random.Random(0).sample(range(len(labels)), len(labels))
    found: dict[str, list[int]] = defaultdict(list)
    for place in order:
        found[labels[place]].append(place)
    return sorted(place for places in found.values() for place in places[:shots])


def of_the_peer(python: str, work: dict[str, Any]) -> list[float]:
    """Accuracies of scikit-learn on the vectors of sentence-transformers, one for each choice of examples."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(work, file)
        file.flush()
        done = subprocess.run([python, "-c", PEER, file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("file", type=Path, help="the model, converted")
    parser.add_argument("checkpoint", type=Path, help="the folder that it was made of")
    parser.add_argument("shared", type=Path, help="the folder of data/")
    parser.add_argument("--peer", default=sys.executable, help="a Python with sentence-transformers and scikit-learn")
    arguments = parser.parse_args()
    model = minibert.load(arguments.file)
    model.warmup()
    rows = []
    for name, (title, train, test, columns) in DATA.items():
        texts, labels = zip(*read_columns(arguments.shared / "data" / name / train, columns), strict=True)
        asked, right = zip(*read_columns(arguments.shared / "data" / name / test, columns), strict=True)
        chosen = [first_of_each(labels, shots) for shots in SHOTS]
        kept = common.RESULTS / f"few_shot-{name}.npz"
        kept.parent.mkdir(parents=True, exist_ok=True)
        work = {"train": texts, "test": asked, "labels": labels, "right": right, "chosen": chosen, "C": DEFAULT_C}
        peer = of_the_peer(arguments.peer, {**work, "vectors": str(kept), "checkpoint": str(arguments.checkpoint)})
        for shots, places, theirs in zip(SHOTS, chosen, peer, strict=True):
            start = time.perf_counter()
            fitted = model.fit([texts[place] for place in places], [labels[place] for place in places])
            seconds = time.perf_counter() - start
            ours = sum(each["label"] == label for each, label in zip(fitted.predict(list(asked)), right, strict=True))
            report = fitted.config.report["fit"]
            rows.append(
                [
                    f"{title}, {'all' if shots is None else f'{shots} examples a label'}",
                    f"{len(places):,}",
                    f"{100 * ours / len(asked):.2f}",
                    f"{100 * theirs:.2f}",
                    f"{100 * report['accuracy']:.2f}",
                    f"{seconds:.1f}",
                    f"{(fitted.size - model.size) / 1e3:.0f} kB",
                ]
            )
            print(common.line(rows[-1]), flush=True)
    machine = common.describe_machine()
    header = ["", "examples", "minibert", "scikit-learn", "its own estimate", "seconds", "larger file"]
    text = f"{common.table(header, rows)}\n\nint8, {machine['cpu']}, {machine['cpus']} CPUs, load {machine['load']}."
    common.fill(common.DOCS / "TASKS.md", __file__, text)


if __name__ == "__main__":
    main()
