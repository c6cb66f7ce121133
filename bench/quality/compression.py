"""What each way of compressing MiniLM weighs and keeps: the table and the plot of docs/COMPRESSION.md.

    python -m bench.quality.compression SENTENCE_MINILM ../shared/data/stsb SST2_MINILM ../shared/data/sst2

Each row is a recipe; its file is kept in build/compression/ and its figures in bench/results/, so that a run can be
continued; a row is made anew when its recipe changes, or with --again NAME. --speed times what is there: it wants a
quiet machine. --draw only writes the table and the plot. The data stays where it is: only figures are kept. Texts to
calibrate on are sentences of the training sets, labels unread.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import minibert
from bench import common
from bench.quality.data import sst2, sst2_training_texts, stsb, stsb_training_texts
from minibert.evaluate import evaluate
from minibert_converter.convert import convert
from minibert_converter.recipe import Recipe

BUILD = common.ROOT / "build/compression"
CALIBRATION_TEXTS = 1024
#: Stands for the file of a task's training sentences.
TEXTS = "texts"
INT8, INT4, CODEBOOK = {"quantize": "int8"}, {"quantize": "int4"}, {"quantize": "codebook"}


#: A row's figures, by task and row.
Points = dict[str, dict[str, dict[str, Any]]]


def blocks(share: float, method: str) -> dict[str, Any]:
    return {"prune": f"4x4:{share}", "method": method}


def words(*forms: str) -> dict[str, Any]:
    return {"embeddings": list(forms)}


#: Passes of each row, in the order of the table.
ROWS: dict[str, list[dict[str, Any]]] = {
    "float32": [],
    "int8": [INT8],
    "codebook": [CODEBOOK],
    "int4": [INT4],
    **{
        f"{share:.0%} 4x4, {method}": [blocks(share, method), INT8]
        for share in (0.3, 0.5, 0.6)
        for method in ("magnitude", "second-order")
    },
    "50% 4x4, second-order, int4": [blocks(0.5, "second-order"), INT4],
    "a third of heads, half of neurons": [{"prune": "heads:0.33"}, {"prune": "ffn:0.5"}, INT8],
    "pairs of layers shared": [{"share": "pairs"}, INT8],
    "pairs shared, rank 64": [{"share": "pairs", "low_rank": 64}, INT8],
    "one pair shared, rank 64": [{"share": "similar:1", "low_rank": 64}, INT8],
    **{f"words {form}": [words(form), INT8] for form in ("int4", "codebook", "codebook:8", "low-rank:128")},
    "words low-rank:192 int4": [words("low-rank:192", "int4"), INT8],
    "words of the training texts": [{"vocab_from": TEXTS}, INT8],
    "int4, words int4": [words("int4"), INT4],
    "codebook, words codebook": [words("codebook"), CODEBOOK],
    "int4, words codebook": [words("codebook"), INT4],
    "int4, words codebook:8": [words("codebook:8"), INT4],
    "int4, words of the training texts, codebook": [{"vocab_from": TEXTS}, words("codebook"), INT4],
}
TURNS = 15
TOKENS = 64


class Task:
    """One of the two: how it is scored and what it is calibrated on."""

    def __init__(self, name: str, checkpoint: Path, data: Path) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.figure = {"stsb": "spearman", "sst2": "accuracy"}[name]
        self.examples, self.truth = stsb(data) if name == "stsb" else sst2(data)
        texts = stsb_training_texts(data) if name == "stsb" else sst2_training_texts(data)
        self.results = common.Results(f"compression-{name}")
        self.folder = BUILD / name
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / TEXTS).write_text("\n".join(texts), encoding="utf-8")
        self.texts = common.sample(texts, CALIBRATION_TEXTS)

    def file(self, row: str) -> Path:
        """Where the file of a row is kept."""
        return BUILD / f"{self.name}-{row.replace(' ', '_').replace(':', '-')}.safetensors"

    def measure(self, row: str, passes: list[dict[str, Any]]) -> dict[str, Any]:
        """Makes the file of a row and measures all but its speed."""
        file = self.file(row)
        start = time.process_time()
        recipe = Recipe.from_json({"pass": passes}, folder=self.folder)
        report = convert(self.checkpoint, file, recipe=recipe, calibrate=self.texts if recipe.reads_texts else None)
        seconds = time.process_time() - start
        model = minibert.load(file, threads=1)
        figures = evaluate(model, self.examples, self.truth)
        return {
            **({"cosine": self.cosines(model)} if self.name == "stsb" else {}),
            "passes": passes,
            "score": round(100 * figures[self.figure], 2),
            "file_bytes": report.file_bytes,
            "resident_bytes": resident(file),
            "convert_cpu_seconds": round(seconds, 1),
        }

    def cosines(self, model: minibert.Model) -> list[float]:
        """Between the vectors of a model and those of float32, over the first sentences of all pairs: mean, least."""
        sentences = sorted({example[0] for example in self.examples})
        wanted = minibert.load(self.file("float32"), threads=1).encode(sentences)
        each = (model.encode(sentences) * wanted).sum(axis=1)
        return [float(each.mean()), float(each.min())]


RESIDENT = """
import re, sys
import minibert
def resident():
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
import numpy, tokenizers
before = resident()
model = minibert.load(sys.argv[1], threads=1)
model.forward([[101, *range(1000, 1062), 102]])
print(resident() - before)
"""


def resident(file: Path) -> int:
    """Bytes of memory that a model takes in a process of its own after one text of 64 tokens, its tokenizer unread."""
    minibert.load(file, threads=1).warmup()
    done = subprocess.run([sys.executable, "-c", RESIDENT, str(file)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def speed(task: Task, rows: list[str]) -> dict[str, float]:
    """By row, how many times as fast as dense int8: the fastest of many turns of each, in turn."""
    ids = [[101, *range(1000, 1000 + TOKENS - 2), 102]]
    models = {row: minibert.load(task.file(row), threads=1) for row in rows}
    calls = {row: partial(model.forward, ids) for row, model in models.items()}
    best = {row: min(seconds) for row, seconds in common.time_in_turns(calls, TURNS, repeats=5).items()}
    return {row: round(best["int8"] / seconds, 3) for row, seconds in best.items()}


def table(points: Points) -> str:
    """Markdown: a line for each row that was measured."""
    header = ["", "file", "resident", "speed", "STS-B", "of float32", "cosine, mean and least", "SST-2", "of float32"]
    lines = []
    for row in ROWS:
        if row not in points["stsb"] and row not in points["sst2"]:
            continue
        one = points["stsb"].get(row) or points["sst2"][row]
        cells = [
            row,
            f"{one['file_bytes'] / 1e6:.2f} MB",
            f"{one['resident_bytes'] / 1e6:.1f} MB",
            f"{one['speed']:.2f}" if "speed" in one else "",
        ]
        for name in ("stsb", "sst2"):
            point, whole = points[name].get(row), points[name].get("float32")
            cells += ["", ""] if point is None else [f"{point['score']:.2f}", _part(point, whole)]
            if name == "stsb":
                cells.append(" ".join(f"{value:.4f}" for value in (point or {}).get("cosine", [])))
        lines.append(cells)
    return common.table(header, lines)


#: The rows of README, and how one asks for each.
SHORT = {
    "int8": "`--quantize int8`, the default",
    "50% 4x4, second-order": "`--prune 4x4:0.5`",
    "a third of heads, half of neurons": "`--prune heads:0.33 --prune ffn:0.5`",
    "int4, words int4": "`--quantize int4 --embeddings int4`",
    "int4, words codebook": "`--quantize int4 --embeddings codebook`",
    "int4, words codebook:8": "`--quantize int4 --embeddings codebook:8`",
}


def short_table(points: dict[str, dict[str, Any]]) -> str:
    """Markdown: some rows of one task."""
    lines = []
    for row, flags in SHORT.items():
        if (point := points.get(row)) is not None:
            size, speed = f"{point['file_bytes'] / 1e6:.1f} MB", f"{point['speed']:.2f}" if "speed" in point else ""
            lines.append([flags, size, speed, f"{point['score']:.2f}", _part(point, points.get("float32"))])
    return common.table(["", "file", "speed", "STS-B dev", "of float32"], lines)


def _part(point: dict[str, Any], whole: dict[str, Any] | None) -> str:
    return f"{point['score'] / whole['score']:.1%}" if whole else ""


def front(points: dict[str, dict[str, Any]]) -> list[str]:
    """Rows that no other row beats in both size and score, from small to large."""
    best, found = -1.0, []
    for row in sorted(points, key=lambda row: (points[row]["file_bytes"], -points[row]["score"])):
        if points[row]["score"] > best:
            best = points[row]["score"]
            found.append(row)
    return found


def plot(points: Points, path: Path) -> None:
    """Score against size, the Pareto front drawn through."""
    figure = common.new_figure(11, 5)
    titles = {"stsb": "STS-B dev, Spearman", "sst2": "SST-2 dev, accuracy"}
    for axes, (name, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        known = points[name]
        if not known:
            continue
        best = front(known)
        sizes = {row: point["file_bytes"] / 1e6 for row, point in known.items()}
        others = [row for row in known if row not in best]
        axes.scatter([sizes[row] for row in others], [known[row]["score"] for row in others], s=14, color="0.6")
        axes.plot([sizes[row] for row in best], [known[row]["score"] for row in best], "o-", markersize=4)
        for row in best:
            axes.annotate(row, (sizes[row], known[row]["score"]), (4, -9), textcoords="offset points", fontsize=7)
        whole = known.get("float32", {}).get("score")
        if whole is not None:
            for part in (1.0, 0.99, 0.97):
                axes.axhline(part * whole, color="0.8", linewidth=0.8, zorder=0)
                axes.annotate(f"{part:.0%}", (sizes["float32"], part * whole), color="0.5", fontsize=7, va="bottom")
            axes.set_ylim(0.9 * whole, 1.01 * whole)
        axes.set(xscale="log", xlabel="file, MB", title=title)
        axes.set_xticks([6, 8, 12, 16, 23, 45, 90], ["6", "8", "12", "16", "23", "45", "90"])
        axes.minorticks_off()
    common.save_figure(figure, path)


def main() -> None:
    parser = common.command_line(__doc__)
    for name in ("stsb", "sst2"):
        parser.add_argument(f"{name}_checkpoint", type=Path)
        parser.add_argument(f"{name}_data", type=Path)
    parser.add_argument("--only", nargs="*", metavar="ROW", help="rows to make; all of them by default")
    parser.add_argument("--again", nargs="*", default=[], metavar="ROW", help="rows to make anew")
    parser.add_argument("--task", choices=("stsb", "sst2"), help="one of the two")
    parser.add_argument("--speed", action="store_true", help="time what is there instead of making rows")
    parser.add_argument("--draw", action="store_true", help="only write the table and the plot")
    arguments = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    tasks = [
        Task(name, getattr(arguments, f"{name}_checkpoint"), getattr(arguments, f"{name}_data"))
        for name in ("stsb", "sst2")
        if arguments.task in (None, name)
    ]
    for row in () if arguments.speed or arguments.draw else arguments.only or ROWS:
        for task in tasks:
            point = task.results.get(row)
            if point is None or point["passes"] != ROWS[row] or row in arguments.again:
                point = task.measure(row, ROWS[row])
                task.results.keep(row, point)
                print(f"{task.name} {row}: {point['score']:.2f}, {point['file_bytes'] / 1e6:.2f} MB", flush=True)
    if arguments.speed:
        for task in tasks:
            for row, ratio in speed(task, [row for row in ROWS if row in task.results]).items():
                task.results.keep(row, {**task.results[row], "speed": ratio})
    if arguments.task is None:
        points = {task.name: {row: task.results[row] for row in ROWS if row in task.results} for task in tasks}
        plot(points, common.DOCS / "compression.svg")
        common.fill(common.DOCS / "COMPRESSION.md", __file__, table(points))
        common.fill(common.README, __file__, short_table(points["stsb"]))


if __name__ == "__main__":
    main()
