"""What training wins back: the table and the plot of docs/DISTILLATION.md.

    python -m bench.quality.distillation ../shared                  # trains what is not there yet: hours on two cores
    python -m bench.quality.distillation ../shared --only sst2-80   # one student
    python -m bench.quality.distillation ../shared --speed          # times what is there: wants a quiet machine
    python -m bench.quality.distillation ../shared --draw           # only writes the table and the plot

Each student is what `minibert distill` makes by a recipe of examples/distill/. Files and states of trainings are kept
in build/distillation/ and figures in bench/results/, so that a run can be stopped and continued; the data stays where
it is.
Beside each student stands the same compression without training, on the same texts, labels unread.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import minibert
from bench import common
from bench.quality.data import five_words
from minibert.datasets import read_columns, read_conll
from minibert.evaluate import evaluate, evaluate_entities
from minibert.format import write_model
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.distill.sharing import share_layers
from minibert_converter.export import export
from minibert_converter.passes.distillation import Distill
from minibert_converter.passes.prune.recipe import Prune
from minibert_converter.passes.quantize.recipe import Quantize
from minibert_converter.recipe import Context, read_recipe

BUILD = common.ROOT / "build/distillation"
RECIPES = common.ROOT / "examples/distill"
CALIBRATION_TEXTS = 512
#: Endings of students that are trained otherwise than the one before, and are the same without training.
VARIANTS = ("-labels",)
TURNS = 5


@dataclass(frozen=True)
class Task:
    """A teacher and its data, as they lie in the shared folder."""

    title: str
    teacher: str
    train: str
    test: str
    figure: str


TASKS = {
    "sst2": Task("SST-2 dev accuracy", "sst2-minilm", "sst2/train.tsv.gz", "sst2/dev.tsv", "accuracy"),
    "banking77": Task(
        "Banking77 test accuracy", "banking77-minilm", "banking77/train.tsv.gz", "banking77/test.tsv.gz", "accuracy"
    ),
    "wnut17": Task(
        "WNUT17 test entity F1", "wnut17-minilm", "wnut17/train.conll.gz", "wnut17/test.conll.gz", "entity_f1"
    ),
}
#: Students by the name of their recipe, whose first word is the task, and what the table calls them.
STUDENTS = {
    "sst2-80": "80% of the 4x4 blocks gone",
    "sst2-90": "90% of the 4x4 blocks gone",
    "sst2-2x3": "2 layers, 3 times each",
    "sst2-2x3-labels": "the same, from labels alone",
    "sst2-1x6": "1 layer, 6 times",
    "sst2-1x6-labels": "the same, from labels alone",
    "banking77-80": "80% of the 4x4 blocks gone",
    "banking77-small": "3 layers of 192, half of the blocks gone",
    "wnut17-half": "half of heads and neurons",
}


class Bench:
    """Makes, scores and times files.

    Args:
        shared: the folder of models/ and data/.
        results: figures of files, by teacher; what is measured is added.
    """

    def __init__(self, shared: Path, results: dict[str, common.Results]) -> None:
        self.shared, self.results = shared, results

    def score(self, task: Task, file: Path) -> float:
        """Percent of the test that is right."""
        model, path = minibert.load(file), self.shared / "data" / task.test
        if task.figure == "entity_f1":
            rows = read_conll(path)
            figures = evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows])
        else:
            texts, labels = self.examples(task, task.test)
            figures = evaluate(model, texts, labels)
        return round(100 * figures[task.figure], 2)

    def examples(self, task: Task, path: str) -> tuple[list[str], list[str]]:
        """Texts of a file, and their labels."""
        if task.figure == "entity_f1":
            return [" ".join(words) for words, _ in read_conll(self.shared / "data" / path)], []
        column = "sentence" if "sst2" in path else "text"
        rows = read_columns(self.shared / "data" / path, [column, "label"])
        return [text for text, _ in rows], [label for _, label in rows]

    def add(self, task: Task, name: str, file: Path, **more: Any) -> None:
        """Scores a file and keeps its figures."""
        figures = {"score": self.score(task, file), "bytes": file.stat().st_size, **more}
        self.results[task.teacher].keep(name, figures)
        print(f"{task.teacher} {name}: {figures['score']:.2f}, {figures['bytes'] / 1e6:.2f} MB", flush=True)

    def teacher(self, task: Task) -> None:
        """The teacher itself, in float32 and in int8."""
        for form in ("float32", "int8"):
            file = BUILD / f"{task.teacher}-{form}.safetensors"
            if form in self.results[task.teacher] and file.exists():
                continue
            calibrate = None if form == "float32" else self.calibration(task)
            form_flag = "none" if form == "float32" else form
            convert(self.shared / "models" / task.teacher, file, quantize=form_flag, calibrate=calibrate)
            self.add(task, form, file)

    def calibration(self, task: Task) -> list[str]:
        """Training texts for passes that want some; short phrases are left out."""
        return common.sample(five_words(self.examples(task, task.train)[0]), CALIBRATION_TEXTS)

    def untrained(self, task: Task, name: str) -> None:
        """The same compression in one shot."""
        if name.endswith(VARIANTS) or f"{name} untrained" in self.results[task.teacher]:
            return
        file = BUILD / f"{name}-untrained.safetensors"
        steps = read_recipe(RECIPES / f"{name}.toml").passes
        step = next(each for each in steps if isinstance(each, Distill))
        requests = [text for each in steps if isinstance(each, Prune) for text in each.prune]
        if step.blocks is not None:
            requests = [*(each for each in requests if not each.startswith("4x4")), f"4x4:{step.blocks.sparsity}"]
        network, context = read_checkpoint(self.student(task, name)), Context(self.calibration(task))
        if requests:
            Prune(tuple(requests)).run(network, context)
        if step.tied_layers:
            share_layers(network, step.tied_layers)
        Quantize().run(network, context)
        write_model(file, *export(network))
        self.add(task, f"{name} untrained", file)

    def student(self, task: Task, name: str) -> Path:
        """The checkpoint that a student starts from."""
        if name == "banking77-small":
            return common.ROOT / "examples/banking77/model"
        return self.shared / "models" / task.teacher

    def trained(self, task: Task, name: str) -> None:
        """The student, by the command that anybody would use."""
        file = BUILD / f"{name}.safetensors"
        if not file.exists():
            words = ["distill", "--teacher", self.shared / "models" / task.teacher, "-o", file]
            words += ["--recipe", RECIPES / f"{name}.toml", "--data", self.texts(task)]
            words += ["--student", self.student(task, name), "--cache", BUILD / "teachers"]
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "minibert", *map(str, words)], check=True)
            self.add(task, name, file, minutes=round((time.perf_counter() - began) / 60, 1))
        elif name not in self.results[task.teacher]:
            self.add(task, name, file)

    def texts(self, task: Task) -> Path:
        """The file that students learn from: of SST-2 without phrases of a few words."""
        source = self.shared / "data" / task.train
        if task.teacher != "sst2-minilm":
            return source
        with gzip.open(source, "rt", encoding="utf-8") as file:
            header, *rows = file.read().rstrip("\n").split("\n")
        path = BUILD / "sst2.tsv"
        path.write_text("\n".join([header, *five_words(rows)]) + "\n", encoding="utf-8")
        return path

    def speed(self, task: Task) -> None:
        """Texts a second on one thread, all files of a task in turns."""
        results, texts = self.results[task.teacher], self.examples(task, task.test)[0][:500]
        calls = {}
        for name in results:
            if (file := self.file(task, name)).exists():
                model = minibert.load(file, threads=1)
                calls[name] = partial(model.forward, [model.tokenizer.encode(text).ids for text in texts])
        for name, seconds in common.time_in_turns(calls, TURNS).items():
            results.keep(name, {**results[name], "texts_per_second": round(len(texts) / min(seconds), 1)})

    def file(self, task: Task, name: str) -> Path:
        """Where a file of that name is."""
        stem = f"{task.teacher}-{name}" if name in ("float32", "int8") else name.replace(" ", "-")
        return BUILD / f"{stem}.safetensors"


def task_of(name: str) -> Task:
    return TASKS[name.partition("-")[0]]


def table(results: dict[str, common.Results]) -> str:
    """Markdown: for each task the teacher, then each student beside what it would be without training."""
    header = ["", "score", "of the teacher's", "untrained", "minutes", "file", "texts a second", "of int8's"]
    lines = []
    for key, task in TASKS.items():
        rows = results[task.teacher]
        lines.append([f"**{task.title}**", *[""] * (len(header) - 1)])
        named = {"float32": "teacher, float32", "int8": "teacher, int8"}
        named |= {name: title for name, title in STUDENTS.items() if name.startswith(key)}
        for name, title in named.items():
            row = rows.get(name)
            label = title if name in ("float32", "int8") else f"{title} (`{name}`)"
            if row is None:
                lines.append([label, "not run", "", _score(rows.get(f"{name} untrained")), "", "", "", ""])
                continue
            speed, dense = row.get("texts_per_second"), rows.get("int8", {}).get("texts_per_second")
            full = rows.get("float32", {}).get("score")
            cells = [label, f"{row['score']:.2f}", f"{row['score'] / full:.1%}" if full else ""]
            cells += [_score(rows.get(f"{name} untrained")), f"{row['minutes']:.0f}" if "minutes" in row else ""]
            cells.append(f"{row['bytes'] / 1e6:.2f} MB")
            cells += [f"{speed:,.0f}" if speed else "", f"{speed / dense:.2f}x" if speed and dense else ""]
            lines.append(cells)
    return common.table(header, lines)


def _score(row: dict[str, Any] | None) -> str:
    return f"{row['score']:.2f}" if row else ""


def plot(results: dict[str, common.Results], path: Path) -> None:
    """Score, as a part of the teacher's, against size and against time."""
    figure = common.new_figure(10, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    for number, task in enumerate(TASKS.values()):
        rows = results[task.teacher]
        if "float32" not in rows:
            continue
        for axes, unit in zip(panels, ("bytes", "texts_per_second"), strict=True):
            for name, row in rows.items():
                if unit not in row:
                    continue
                x = row["bytes"] / 1e6 if unit == "bytes" else 1000 / row[unit]
                y = 100 * row["score"] / rows["float32"]["score"]
                hollow = name.endswith("untrained")
                label = task.title if name == "int8" else None
                face = "none" if hollow else f"C{number}"
                axes.plot(x, y, "o", color=f"C{number}", markerfacecolor=face, label=label)
                if not hollow:
                    label = name.partition("-")[2] or name
                    axes.annotate(label, (x, y), (4, 3), textcoords="offset points", fontsize=7)
    panels[0].set(xlabel="file, MB", ylabel="score, % of the teacher's", xscale="log")
    panels[1].set(xlabel="milliseconds a text, one thread", xscale="log")
    panels[0].set_title("filled: trained; hollow: the same in one shot", fontsize=9)
    for axes in panels:
        axes.grid(alpha=0.3)
    if any(results.values()):
        panels[0].legend(fontsize=8)
    common.save_figure(figure, path)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("shared", type=Path, help="the folder of models/ and data/")
    parser.add_argument("--only", nargs="+", choices=list(STUDENTS), default=list(STUDENTS), metavar="NAME")
    parser.add_argument("--untrained", action="store_true", help="train nothing: only what one shot gives")
    parser.add_argument("--speed", action="store_true", help="time what is there")
    parser.add_argument("--draw", action="store_true", help="only write the table and the plot")
    arguments = parser.parse_args()
    results = {task.teacher: common.Results(f"distillation-{task.teacher}") for task in TASKS.values()}
    bench = Bench(arguments.shared, results)
    BUILD.mkdir(parents=True, exist_ok=True)
    if not arguments.speed and not arguments.draw:
        for name in arguments.only:
            bench.teacher(task_of(name))
            bench.untrained(task_of(name), name)
            if not arguments.untrained:
                bench.trained(task_of(name), name)
    if arguments.speed:
        for task in TASKS.values():
            bench.speed(task)
    common.fill(common.DOCS / "DISTILLATION.md", __file__, table(results))
    plot(results, common.DOCS / "distillation.svg")


if __name__ == "__main__":
    main()
