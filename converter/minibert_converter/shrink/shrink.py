"""From a teacher and texts to the best student within a budget and a time, without a recipe."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minibert
from minibert import files
from minibert.errors import InputError, MinibertError
from minibert.format import read_model, write_model
from minibert.format.constants import LABELED_TASKS
from minibert_converter.budget.interval import CONFIDENCE
from minibert_converter.budget.state import State, folder_key
from minibert_converter.budget.targets import Target, this_machine
from minibert_converter.checkpoints import checkpoint_folder, read_checkpoint
from minibert_converter.convert import check_target
from minibert_converter.distill.dataset import Examples
from minibert_converter.export import export
from minibert_converter.network import Network
from minibert_converter.passes.embeddings.vocabulary import used_tokens
from minibert_converter.passes.quantize.quantizer import quantize
from minibert_converter.progress import OnProgress, no_progress
from minibert_converter.recipe.toml import recipe_toml
from minibert_converter.report import format_bytes
from minibert_converter.shrink.goal import Goal
from minibert_converter.shrink.judge import Judge, Kept
from minibert_converter.shrink.sifting import Sifting, Trial, Watcher, recipe_of
from minibert_converter.shrink.student import Cutter
from minibert_converter.shrink.trainings import ANSWERS, Workshop

#: Trainings at a time, at most: each has a model and the teacher's answers in memory.
MAX_WORKERS = 4
#: Without examples to judge on: the part of the texts that is held out for it, and how many at most.
_HELD_OUT, _MOST_HELD_OUT = 0.15, 2000
#: Bytes of the teacher's answers and hidden states that are kept: of more texts, some are taken.
_MOST_KEPT = 8e9
#: Texts below which copies are trained on too, and how many of each. Of more texts, all are read more often without.
_FEW_TEXTS, _COPIES = 6000, 1


class ShrinkError(MinibertError):
    """No student was found that meets the goal; says how near the best came."""


@dataclass(frozen=True)
class Shrunk:
    """What a search ends with.

    Attributes:
        best: the student that was taken.
        kept: what it keeps of its teacher's score, on texts that no choice has seen.
        measure: what the score is called.
        by_labels: whether the score is against true labels; else against the teacher's answers.
        front: the best of each size that was trained, from the smallest on.
        trials: how many were trained.
        recipe: what makes the student of its teacher, as plain values.
        file_bytes: of the file.
        teacher_bytes: of its teacher in dense int8.
        goal: that was to be met.
        target: where the student will answer.
    """

    best: Trial
    kept: Kept
    measure: str
    by_labels: bool
    front: tuple[Trial, ...]
    trials: int
    recipe: Mapping[str, Any]
    file_bytes: int
    teacher_bytes: int
    goal: Goal
    target: Target

    @property
    def sentence(self) -> str:
        """What it keeps."""
        kept = self.kept
        against = "" if self.by_labels else ", the teacher's answers being what is right"
        return (
            f"keeps {kept.part:.2%} of its teacher's {self.measure} ({kept.score:.4f} of {kept.teacher:.4f}{against}), "
            f"{CONFIDENCE:.0%} sure from {kept.low:.2%} to {kept.high:.2%}, on {kept.texts:,} texts that no choice saw"
        )

    def table(self) -> str:
        """What was found, as lines of text."""
        lines = [
            f"{self.best.student}: {format_bytes(self.file_bytes)}, its teacher in int8 "
            f"{format_bytes(self.teacher_bytes)}",
            self.sentence,
            f"time for a text, estimated for {self.target.says}: {self.best.latency:.2f} of its teacher's in int8",
            f"the best of {self.trials} trained students by size, on texts by which it was chosen:",
        ]
        for trial in self.front:
            mark = "*" if trial.key == self.best.key else " "
            lines.append(
                f"{mark} {format_bytes(trial.bytes):>10}  {trial.kept.part:7.2%}  likeness {trial.likeness:.4f}  "
                f"time {trial.latency:.2f}  {trial.student}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same, as plain JSON values."""
        return {
            "file_bytes": self.file_bytes,
            "teacher_bytes": self.teacher_bytes,
            "measure": self.measure,
            "by_labels": self.by_labels,
            "kept": {"part": self.kept.part, **asdict(self.kept), "confidence": CONFIDENCE},
            "student": asdict(self.best.student),
            "latency_ratio": self.best.latency,
            "target": self.target.says,
            "goal": asdict(self.goal),
            "front": [asdict(trial) for trial in self.front],
            "trials": self.trials,
            "recipe": dict(self.recipe),
            "says": self.table(),
        }


@dataclass(frozen=True)
class Settings:
    """How a search goes about it.

    Attributes:
        minutes: that it takes.
        seed: of every random choice.
        workers: trainings at a time; None is as many as there are cores, MAX_WORKERS at most.
        target: where the student will answer; None is this machine.
        copies: varied copies of each text; None is some where texts are few.
        fresh: begin anew, even where a search was stopped.
    """

    minutes: float = 30.0
    seed: int = 0
    workers: int | None = None
    target: Target | None = None
    copies: int | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.minutes < 100_000:
            raise InputError(f"minutes is {self.minutes}: say for how long students may be trained")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers is {self.workers}: one training at a time is the least")


def shrink(
    teacher: str | Path,
    examples: Examples,
    out: str | Path,
    goal: Goal,
    *,
    judged_on: Examples | None = None,
    settings: Settings | None = None,
    watcher: Watcher | None = None,
    progress: OnProgress = no_progress,
) -> Shrunk:
    """Finds a student that meets a goal, trains it, and writes its file and OUT.toml, the recipe that makes it again.

    What has been done is kept in the folder `OUT.shrink` until the end, so that a search that was stopped goes on where
    it was. The same seed gives the same shapes in the first rung; which follow depends on how far those came in their
    time.

    Args:
        teacher: a checkpoint, fine-tuned for its task: a folder, or a name on the Hub.
        examples: texts to learn from; labels are not read.
        out: the file to write, whole or not at all.
        goal: what must hold of the student.
        judged_on: texts, and labels if they are known, that students are compared on and the result is stated on; None
            holds out some of `examples`.
        settings: how it goes about it.
        watcher: who is told how far the search is.
        progress: called as `progress(stage, done, total)` of what comes before and after.

    Raises:
        ShrinkError: no student was found that meets the goal.
        InputError: texts or options make no sense.
        CheckpointError: the checkpoint is broken, and where.
        UnsupportedError: the checkpoint is of a kind that cannot be distilled.
    """
    settings = settings or Settings()
    source = checkpoint_folder(teacher, progress=progress)
    target = check_target(source, Path(out))
    recipe_file = target.with_suffix(".toml")
    files.check_target(recipe_file, [source])
    network = read_checkpoint(source, None, progress)
    network.need_layers("shrinking")
    _check(network)
    by_labels = judged_on is not None and judged_on.labels is not None
    learned, judged = (examples, judged_on) if judged_on is not None else _held_out(examples, settings.seed)
    inputs = [
        folder_key(source, target),
        zlib.crc32(repr((learned.texts, judged.texts, judged.labels)).encode("utf-8", "surrogatepass")),
        asdict(goal),
        settings.seed,
        settings.copies,
        asdict(settings.target or this_machine()),
    ]
    state = State(target, inputs, "shrink")
    if settings.fresh:
        state.remove()
        state = State(target, inputs, "shrink")
    sifting = _sifting(source, network, learned, judged, goal, settings, state, watcher or Watcher(), progress)
    sifting.run()
    best = sifting.best()
    if best is None:
        raise ShrinkError(_nearest(sifting, goal, state.folder))
    path = sifting.workshop.student(best.key)
    kept = sifting.judge.kept(sifting.judge.answers(minibert.load(path)), stated=True)
    recipe = recipe_of(best, sifting.workshop)
    found = Shrunk(
        best=best,
        kept=kept,
        measure=sifting.judge.measure,
        by_labels=by_labels,
        front=tuple(sifting.front()),
        trials=len(sifting.trials),
        recipe=recipe,
        file_bytes=0,
        teacher_bytes=int(state.get("teacher's bytes", lambda: _int8_bytes(network, state.folder))),
        goal=goal,
        target=sifting.cutter.target,
    )
    size = _write(path, target, found)
    with files.replacing(recipe_file) as file:
        file.write(recipe_toml(recipe, f"Made {target.name}: {found.sentence}.").encode())
    state.remove()
    return replace(found, file_bytes=size)


def _check(network: Network) -> None:
    """Refuses what cannot be trained, before anything takes time."""
    if network.task.kind not in (*LABELED_TASKS, "sentence-embedding"):
        raise InputError(f"models for {network.task.kind} cannot be shrunk: there are no students for them yet")
    from minibert_converter.distill.student import TorchNetwork

    TorchNetwork(network)


def _held_out(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Texts to learn from, and some to judge on, without labels: the teacher may have learned those by heart."""
    texts = list(examples.texts)
    count = min(round(_HELD_OUT * len(texts)), _MOST_HELD_OUT)
    order = np.random.default_rng(seed).permutation(len(texts))
    return Examples([texts[i] for i in order[count:]]), Examples([texts[i] for i in order[:count]])


def _sifting(
    source: Path,
    network: Network,
    learned: Examples,
    judged: Examples,
    goal: Goal,
    settings: Settings,
    state: State,
    watcher: Watcher,
    progress: OnProgress,
) -> Sifting:
    """The search, its teacher's file made and its texts written where trainings read them."""
    began = time.monotonic()
    path = state.folder / "teacher.safetensors"
    write_model(path, *export(network.copy()))
    judge = Judge(minibert.load(path), judged, settings.seed)
    texts = [part for text in learned.texts for part in ((text,) if isinstance(text, str) else text)]
    used: Counter[int] = used_tokens(network, texts, progress)
    others = [part for text in judged.texts for part in ((text,) if isinstance(text, str) else text)]
    to_come = used_tokens(network, others, progress)
    copies = settings.copies
    if copies is None:
        copies = _COPIES if len(learned.texts) < _FEW_TEXTS else 0
    learned, copies = _affordable(learned, copies, sum(used.values()), network, settings.seed, progress)
    cutter = Cutter(network, used, to_come, settings.target or this_machine(), _has_bfloat16(), copies)
    written = state.folder / "examples.json"
    with files.replacing(written) as file:
        file.write(json.dumps({"texts": list(learned.texts), "labels": None}).encode("utf-8", "surrogatepass"))
    cores = _cores()
    from minibert_converter.distill.distill import answer_ahead

    answer_ahead(
        source,
        learned,
        copies,
        state.folder / ANSWERS,
        seed=settings.seed,
        bfloat16=cutter.bfloat16,
        threads=cores,
        progress=progress,
    )
    workers = settings.workers or min(cores, MAX_WORKERS)
    workshop = Workshop(state.folder, source, written, workers, max(cores // workers, 1))
    spent = state.get("spent before trainings", lambda: time.monotonic() - began)
    return Sifting(cutter, judge, workshop, goal, settings.minutes, state, settings.seed, watcher, spent)


def _affordable(
    examples: Examples, copies: int, tokens: int, network: Network, seed: int, progress: OnProgress
) -> tuple[Examples, int]:
    """Texts and copies of which the teacher's answers and hidden states can be kept on disk."""
    shape = network.architecture
    room = _MOST_KEPT / (2 * shape.hidden_size * (len(shape.layers) + 1) * max(tokens, 1))
    if room >= 1:
        return examples, min(copies, int(room) - 1)
    texts = list(examples.texts)
    count = max(int(room * len(texts)), 1)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:count])
    progress(f"taking {count:,} of {len(texts):,} texts", 1, 1)
    return Examples([texts[i] for i in chosen]), 0


def _int8_bytes(teacher: Network, folder: Path) -> int:
    """What the teacher weighs in dense int8."""
    small = teacher.copy()
    quantize(small, "int8", method="nearest")
    return write_model(folder / "int8.safetensors", *export(small))


def _write(path: Path, target: Path, found: Shrunk) -> int:
    """Writes the student with what is known of it in its report; bytes of the file."""
    file = read_model(path, copy=True)
    report = {**file.config.report, "choice": [f"{found.goal} was asked for", found.sentence]}
    return write_model(target, replace(file.config, report=report), file.tensors)


def _nearest(sifting: Sifting, goal: Goal, folder: Path) -> str:
    if not sifting.trials:
        return f"no student is that small or that fast ({goal})"
    near = sifting.nearest()
    if near is None:
        smallest = min(sifting.trials, key=lambda trial: trial.bytes)
        return f"no student fits ({goal}): the smallest weighs {format_bytes(smallest.bytes)}: {smallest.student}"
    return (
        f"no student was found that meets the goal ({goal}): the nearest, {near.student}, weighs "
        f"{format_bytes(near.bytes)} and keeps {near.kept.part:.2%}, of which {near.sure:.2%} is sure. With more "
        f"--minutes, or more texts, it may be met; what was trained is kept in {folder}"
    )


def _has_bfloat16() -> bool:
    """Whether products of bfloat16 are faster than those of float32 here."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check is not None and check() for check in checks)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
