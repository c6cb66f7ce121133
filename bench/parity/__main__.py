"""Every task against transformers and sentence-transformers, field by field; families against their models.

    pip install -e '.[train]' sentence-transformers
    python -m bench.parity                                    # small checkpoints with random weights
    python -m bench.parity --only pipelines --data ../shared/data CHECKPOINT...    # these, on real texts too
    python -m bench.parity --only families                    # also what int8 costs in each

Exits with 1 if anything differs that docs/TASKS.md does not say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

# Before transformers is imported: nothing here needs the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers

from bench import common
from bench.parity import networks, pipelines, sentences
from bench.parity.compare import Row
from bench.parity.texts import texts

PARTS = ("families", "pipelines", "sentences")


def rows(options: argparse.Namespace, folder: Path) -> Iterator[Row | networks.Row]:
    chosen = texts(options.texts, options.data)
    if options.only in (None, "families"):
        yield from networks.rows(folder / "families")
    if options.only in (None, "pipelines"):
        yield from pipelines.rows(folder, chosen, options.checkpoints)
    if options.only in (None, "sentences"):
        yield from sentences.rows(folder / "sentences", chosen)


def main() -> int:
    parser = common.command_line(__doc__)
    parser.add_argument(
        "checkpoints",
        nargs="*",
        type=Path,
        metavar="CHECKPOINT",
        help="folders with a head for a task (default: small ones, made up)",
    )
    parser.add_argument("--texts", type=int, default=200, metavar="N", help="texts to compare on (default: 200)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="holds blns/, xquad/ and wnut17/")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--json", action="store_true", help="a JSON object for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options, Path(folder)):
            bad += row.differ
            print(json.dumps(asdict(row), ensure_ascii=False) if options.json else row, flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
