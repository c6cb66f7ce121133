"""Write training queries and varied copies of them, as `minibert distill --data` reads them.

    python examples/banking77/vary.py data/train.tsv.gz varied.tsv --copies 1

Labels are left out: the teacher answers every text.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from augment import augmented

from minibert.cli.data import read_columns


def main() -> None:
    """Read, vary, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a table with columns label and text")
    parser.add_argument("target", type=Path, help="the .tsv file to write")
    parser.add_argument("--copies", type=int, default=1, help="varied copies of each text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = read_columns(arguments.source, ["label", "text"])
    names = sorted({label for label, _ in rows})
    texts, labels = [text for _, text in rows], [names.index(label) for label, _ in rows]
    everything, rng = list(texts), random.Random(arguments.seed)
    for _ in range(arguments.copies):
        everything += augmented(texts, labels, rng, {}, mix=True)
    lines = [" ".join(text.split()) for text in everything]
    arguments.target.write_text("text\n" + "".join(f"{line}\n" for line in lines if line), encoding="utf-8")


if __name__ == "__main__":
    main()
