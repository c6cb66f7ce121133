"""Whether what a budget promises holds on examples that the search has not seen.

    python -m bench.quality.promises ../shared --sentences SENTENCE_MINILM

Each search has dev or training examples for its score and other training texts, labels unread, to calibrate on; then
the float32 model and the file answer the test set, and the part of the score that is kept there is compared with the
least part that was asked for. A search takes minutes; figures are kept in bench/results/, so that a run can be
continued. Fills the table of docs/COMPRESSION.md.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import minibert
from bench import common
from bench.quality.budget import children_seconds
from minibert.datasets import read_columns, read_conll
from minibert.evaluate.examples import Options, evaluate_file, primary
from minibert_converter.convert import convert

CALIBRATION_TEXTS = 512
#: Training examples that the score is taken on where there is no dev set.
EXAMPLES = 2000


class Data(NamedTuple):
    """Where a search finds what it reads, and what judges it afterwards."""

    checkpoint: Path
    texts: list[str]
    examples: Path
    test: Path


class Budget(NamedTuple):
    """What is asked of a file of one data set."""

    data: str
    asked: str

    @property
    def name(self) -> str:
        """Of its figures."""
        return f"{self.data} {self.asked}"

    @property
    def least(self) -> float:
        """The part of the float32 score that is promised."""
        words = self.asked.split()
        return float(words[words.index("--min-score") + 1])


#: The cheapest first: a run that is stopped has filled the table with what there is.
BUDGETS = (
    Budget("SST-2", "--min-score 0.99"),
    Budget("Banking77", "--min-score 0.99"),
    Budget("WNUT 17", "--min-score 0.97"),
    Budget("STS-B", "--min-score 0.99"),
    Budget("SST-2", "--min-score 0.97 --max-size 10MB"),
    Budget("Banking77", "--min-score 0.98 --max-size 9MB"),
    Budget("WNUT 17", "--min-score 0.9 --max-size 9MB"),
    Budget("STS-B", "--min-score 0.98 --max-size 9MB"),
    Budget("SST-2", "--min-score 0.95 --max-size 8MB"),
    Budget("STS-B", "--min-score 0.95 --max-size 7MB"),
)


def sst2(shared: Path) -> Data:
    data = shared / "data/sst2"
    texts = [text for (text,) in read_columns(data / "train.tsv.gz", ["sentence"])]
    return Data(shared / "models/sst2-minilm", texts, data / "dev.tsv", data / "test.tsv.gz")


def banking77(shared: Path, folder: Path) -> Data:
    data, examples = shared / "data/banking77", folder / "banking77.tsv"
    rows = read_columns(data / "train.tsv.gz", ["text", "label"])
    random.Random(0).shuffle(rows)
    lines = ["text\tlabel", *("\t".join(row) for row in rows[:EXAMPLES])]
    examples.write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = [text for text, _ in rows[EXAMPLES:]]
    return Data(shared / "models/banking77-minilm", texts, examples, data / "test.tsv.gz")


def wnut17(shared: Path) -> Data:
    data = shared / "data/wnut17"
    texts = [" ".join(words) for words, _ in read_conll(data / "train.conll.gz")]
    return Data(shared / "models/wnut17-minilm", texts, data / "dev.conll.gz", data / "test.conll.gz")


def stsb(shared: Path, checkpoint: Path) -> Data:
    data = shared / "data/stsb"
    texts = [text for row in read_columns(data / "train.tsv.gz", ["sentence1", "sentence2"]) for text in row]
    return Data(checkpoint, texts, data / "dev.tsv.gz", data / "test.tsv.gz")


def score(file: Path, test: Path) -> float:
    """The figure by which a file is judged, on the examples of a test set."""
    figures = evaluate_file(minibert.load(file), test, Options())
    return figures[primary(figures)]


def searched(budget: Budget, data: Data, folder: Path, minutes: float) -> dict[str, Any]:
    """What a search found, and what that is worth on the test set."""
    calibration, file, whole = (folder / name for name in ("texts.txt", "model.safetensors", "float32.safetensors"))
    calibration.write_text("\n".join(common.sample(data.texts, CALIBRATION_TEXTS)), encoding="utf-8")
    command = [sys.executable, "-m", "minibert", "convert", data.checkpoint, "-o", file, "--calibrate", calibration]
    command += ["--eval", data.examples, *budget.asked.split(), "--minutes", minutes, "--json"]
    before = children_seconds()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    figures: dict[str, Any] = {"cpu_minutes": (children_seconds() - before) / 60}
    if done.returncode:
        return {**figures, "refused": done.stderr.strip().splitlines()[-1].partition("error: ")[2]}
    found = json.loads(done.stdout)["search"]
    convert(data.checkpoint, whole, quantize="none")
    kept = score(file, data.test) / score(whole, data.test)
    figures |= {"bytes": file.stat().st_size, "found": found["kept"], "recipe": found["recipe"], "kept": kept}
    file.unlink()
    return figures


def row(budget: Budget, figures: dict[str, Any]) -> list[str]:
    """A line of the table."""
    cells = [budget.data, f"`{budget.asked}`"]
    if "refused" in figures:
        return [*cells, "refused", "", "", "", f"{figures['cpu_minutes']:.1f}"]
    least, most = figures["found"]["interval"]
    met = "yes" if figures["kept"] >= budget.least else "**no**"
    return [
        *cells,
        f"{figures['bytes'] / 1e6:.2f} MB",
        f"{100 * figures['found']['part']:.2f} ({100 * least:.2f} to {100 * most:.2f})",
        f"{100 * figures['kept']:.2f}",
        met,
        f"{figures['cpu_minutes']:.1f}",
    ]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("shared", type=Path, help="the folder with data and models")
    parser.add_argument("--sentences", type=Path, required=True, help="the folder of all-MiniLM-L6-v2, for STS-B")
    parser.add_argument("--minutes", type=float, default=15.0, help="that each search may take (default: 15)")
    parser.add_argument("--again", action="store_true", help="search anew what is known")
    arguments = parser.parse_args()
    results = common.Results("promises")
    if arguments.again:
        results.clear()
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as name:
        folder = Path(name)
        read: dict[str, Callable[[], Data]] = {
            "SST-2": lambda: sst2(arguments.shared),
            "Banking77": lambda: banking77(arguments.shared, folder),
            "WNUT 17": lambda: wnut17(arguments.shared),
            "STS-B": lambda: stsb(arguments.shared, arguments.sentences),
        }
        for budget in BUDGETS:
            if budget.name not in results:
                results.keep(budget.name, searched(budget, read[budget.data](), folder, arguments.minutes))
            common.note(common.line(row(budget, results[budget.name])))
            fill(results)


def fill(results: Mapping[str, dict[str, Any]]) -> None:
    """Puts a line for each budget that has been searched into the table of the page."""
    header = ["data", "asked", "file", "kept in the search, % (95% interval)", "kept on the test set, %", "met"]
    rows = [row(budget, results[budget.name]) for budget in BUDGETS if budget.name in results]
    common.fill(common.DOCS / "COMPRESSION.md", __file__, common.table([*header, "CPU minutes"], rows, words=2))


if __name__ == "__main__":
    main()
