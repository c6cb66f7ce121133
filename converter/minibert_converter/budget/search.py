"""The search itself: choose among what was measured, and try the best choices for real."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minibert.errors import InputError, MinibertError
from minibert.format import read_model, write_model
from minibert_converter.budget.choice import Trial, explained
from minibert_converter.budget.goal import Goal
from minibert_converter.budget.probe import Candidate, Probe
from minibert_converter.budget.space import FORMS, PRUNING, bases, forms_worth_trying
from minibert_converter.budget.state import State, folder_key, key_of
from minibert_converter.budget.targets import Target, this_machine
from minibert_converter.convert import check_target, convert
from minibert_converter.progress import OnProgress, no_progress
from minibert_converter.recipe import Recipe
from minibert_converter.report import Report, format_bytes

#: How good a file is on the user's examples: any figure of which more is better.
Scorer = Callable[[Path], float]

#: Files that are made and measured before a search gives up.
MAX_TRIALS = 8


class GoalError(MinibertError):
    """A budget cannot be met; says how near the best that was found comes."""


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with.

    Attributes:
        report: of the conversion.
        recipe: that was found.
        score: on the user's examples; None where there are none.
        float_score: that of the float32 model.
        latency: the part of the dense int8 model's time that it is expected to take.
        loss: how far the file's answers moved; None where the goal has no loss.
        trials: files that were made, in order.
        target: where the model will answer.
        goal: that was to be met.
    """

    report: Report
    recipe: Recipe
    score: float | None
    float_score: float | None
    latency: float
    loss: float | None
    trials: tuple[Trial, ...]
    target: Target
    goal: Goal

    def table(self) -> str:
        """What was found, as lines of text."""
        lines = [f"found in {len(self.trials)} trials: {format_bytes(self.report.file_bytes)}"]
        if self.loss is not None:
            lines.append(f"loss: {self.loss:.4f}; allowed: {self.goal.max_loss:g}")
        if self.score is not None and self.float_score is not None:
            part = f", {self.score / self.float_score:.2%} of it" if self.float_score else ""
            lines.append(f"score: {self.score:.4f}; float32: {self.float_score:.4f}{part}")
        lines.append(f"time for a text, estimated for {self.target.says}: {self.latency:.2f} of dense int8")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same, as plain JSON values."""
        return {
            "recipe": self.recipe.to_json(),
            "score": self.score,
            "float_score": self.float_score,
            "latency_ratio": self.latency,
            "loss": self.loss,
            "goal": asdict(self.goal),
            "target": self.target.says,
            "trials": [trial.to_json() for trial in self.trials],
        }


def search(
    src: str | Path,
    out: str | Path,
    goal: Goal,
    *,
    texts: Sequence[str] | None = None,
    score: Scorer | None = None,
    score_key: str = "",
    first: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    task: str | None = None,
    route: str | None = None,
    max_length: int | None = None,
    base: str | Path | None = None,
    target: Target | None = None,
    progress: OnProgress | None = None,
) -> SearchResult:
    """Finds a recipe that meets a goal at the least measured loss, and writes the file; or writes nothing.

    Where the fastest file is asked for it is that, of those that keep to a loss or a score: only how weights are kept
    is searched then, and nothing is pruned. Why matrices are kept as they are stands in the file's report.

    Each way of storing each matrix and the word embeddings is tried alone on calibration texts; pruning is tried as
    a whole, at rising shares, where the goal can't be had without. A knapsack (`knapsack.frontier`) combines them.
    The best combinations are then made for real, weighed, and scored on the user's examples.

    What was measured is kept in the folder `OUT.search` until the end, so that a search that was stopped goes on where
    it was. The same inputs and seed give the same file.

    Args:
        src: the checkpoint folder.
        out: the file to write.
        goal: what must hold of it.
        texts: calibration texts; None takes those that ship with the converter.
        score: how good a file is; needed for a goal with a score.
        score_key: names what `score` measures: a state of other examples is not taken up again.
        first: passes that are done in any case, ahead of all, as tables of a recipe.
        seed: of every random choice.
        task: as `convert` has it.
        route: as `convert` has it.
        max_length: as `convert` has it.
        base: as `convert` has it.
        target: where the model will answer; None for this machine.
        progress: called as `progress(stage, done, total)`.

    Raises:
        GoalError: the goal can't be met; says by how much.
        InputError: a goal with a score without examples, and all that `convert` raises.
    """
    if goal.min_score is not None and score is None:
        raise InputError("a least score needs examples to measure it on (--eval)")
    source = Path(src)
    path = check_target(source, Path(out))
    target = target or this_machine()
    texts = list(texts) if texts is not None else None
    passes = [dict(table) for table in first]
    inputs = [folder_key(source, path), asdict(goal), texts, score_key, passes, seed, task, route, max_length, _SPACE]
    inputs.append(asdict(target))
    if base is not None:
        inputs.append(folder_key(Path(base), path))
    state = State(path, inputs)
    probe = Probe(source, texts, passes, seed, task, route, base, target, state, progress or no_progress)
    made = _Search(probe, goal, score, max_length)
    found, best = made.best()
    os.replace(best, path)
    state.remove()
    return found


#: A state measured over other choices is of no use.
_SPACE = [list(PRUNING.items()), list(FORMS)]


@dataclass
class _Search:
    probe: Probe
    goal: Goal
    score: Scorer | None
    max_length: int | None

    def __post_init__(self) -> None:
        self._reports: dict[Path, Report] = {}

    # What is chosen.

    def candidates(self) -> list[Candidate]:
        """Points worth a trial: those of the whole model, and of the least changed ones that meet the goal."""
        if self.goal.fastest:
            return self.probe.fast_candidates()
        candidates = self.probe.candidates()
        if any(self.fits(candidate) for candidate in candidates):
            return candidates
        ratio = self.goal.max_latency_ratio
        for family, levels in bases(self.probe.network()).items():
            if family == "sharing" and ratio is not None and ratio < 1:
                continue  # it saves bytes, not time
            for level in levels:
                new = self.probe.candidates([level])
                candidates += new
                if any(self.fits(candidate) for candidate in new):
                    break
        return candidates

    def fits(self, candidate: Candidate, slack: int = 0) -> bool:
        size, ratio = self.goal.max_size, self.goal.max_latency_ratio
        return (size is None or candidate.bytes + slack <= size) and (ratio is None or candidate.latency <= ratio)

    # What is tried.

    def float_score(self) -> float | None:
        if self.score is None:
            return None
        return self.probe.state.get("float score", lambda: self._scored(Recipe(), "float32")[1])

    def best(self) -> tuple[SearchResult, Path]:
        """The best file that meets the goal, made and measured."""
        candidates = self.candidates()
        float_score = self.float_score()
        fitting = [candidate for candidate in candidates if self.fits(candidate)]
        if not fitting:
            raise GoalError(f"no recipe meets the budget ({self.goal}): {self._nearest(candidates)}")
        least = None if self.goal.min_score is None else self.goal.min_score * (float_score or 0.0)
        tried: list[Trial] = []
        good: Trial | None = None
        for candidate in self._order(fitting, tried):
            tried.append(self.trial(candidate, least))
            if tried[-1].holds:
                if good is None or candidate.weight < good.candidate.weight:
                    good = tried[-1]
                if not self._halves:
                    break
            if len(tried) >= MAX_TRIALS:
                break
        if good is None:
            raise GoalError(
                f"no recipe was found that meets the budget ({self.goal}): {self._closest(tried, float_score)}"
            )
        candidate = good.candidate
        path = self.probe.state.folder / key_of(candidate.recipe.to_json())
        report = self._reports.get(path) or self._file(candidate.recipe)[0]
        if self.goal.fastest:
            report = self._with_choice(path, report, tried, good)
        found = SearchResult(
            report,
            candidate.recipe,
            score=good.score,
            float_score=float_score,
            latency=candidate.latency,
            loss=good.loss,
            trials=tuple(tried),
            target=self.probe.target,
            goal=self.goal,
        )
        return found, path

    @property
    def _halves(self) -> bool:
        """Whether the best file is found by halving what is left, not by trying the least loss first."""
        return self.goal.fastest or (self.goal.min_score is not None and self.goal.max_size is None)

    def _order(self, fitting: list[Candidate], tried: list[Trial]) -> Iterator[Candidate]:
        """Points in the order in which to try them, as the trials so far suggest."""
        if self._halves:
            yield from self._halving(fitting, tried)
            return
        # The least loss first; what turned out larger than expected raises all expectations.
        left = sorted(fitting, key=lambda candidate: (candidate.loss, candidate.bytes))
        while left:
            slack = max((trial.bytes - trial.candidate.bytes for trial in tried), default=0)
            left = [candidate for candidate in left if self.fits(candidate, slack)]
            if left:
                yield left.pop(0)

    def _halving(self, fitting: list[Candidate], tried: list[Trial]) -> Iterator[Candidate]:
        """Halves the frontier of all points again and again: on to less loss where a file did not hold, else to more.

        The first is the one that is expected to lose what is allowed, if a loss is.
        """
        front: list[Candidate] = []
        for candidate in sorted(fitting, key=lambda candidate: (candidate.loss, candidate.weight)):
            if not front or candidate.weight < front[-1].weight:
                front.append(candidate)
        low, high = 0, len(front) - 1  # from the least loss to the most
        middle = (low + high) // 2
        if self.goal.max_loss is not None:
            middle = max(0, sum(candidate.loss <= self.goal.max_loss for candidate in front) - 1)
        while low <= high:
            yield front[middle]
            if tried[-1].holds:
                low = middle + 1
            else:
                high = middle - 1
            middle = (low + high) // 2

    def trial(self, candidate: Candidate, least: float | None) -> Trial:
        """Makes a file and measures it; `least` is the score that it must have."""
        key = f"trial {key_of(candidate.recipe.to_json())}"
        size, score, loss = self.probe.state.get(key, lambda: self._scored(candidate.recipe))
        holds = (
            (self.goal.max_size is None or size <= self.goal.max_size)
            and (least is None or (score is not None and score >= least))
            and (self.goal.max_loss is None or loss <= self.goal.max_loss)
        )
        return Trial(candidate, size, score, loss, holds)

    def _scored(self, recipe: Recipe, name: str | None = None) -> list[Any]:
        report, path = self._file(recipe, name)
        score = None if self.score is None else self.score(path)
        return [report.file_bytes, score, None if self.goal.max_loss is None else self.probe.loss_of_file(path)]

    def _with_choice(self, path: Path, report: Report, tried: Sequence[Trial], taken: Trial) -> Report:
        """The report, in the file too, with why matrices are kept as they are."""
        probe = self.probe
        shapes = probe.shapes().shapes
        measured = probe.forms(forms_worth_trying(shapes, probe.target))
        losses = {form: {name: lost for name, (_, lost) in its.items()} for form, its in measured.items()}
        lines = explained(probe.target, shapes, losses, tried, taken)
        report = replace(report, choice=(f"the fastest was asked for that keeps to {self.goal}", *lines))
        file = read_model(path, copy=True)
        size = write_model(path, replace(file.config, report=report.stored_json()), file.tensors)
        return replace(report, file_bytes=size)

    def _file(self, recipe: Recipe, name: str | None = None) -> tuple[Report, Path]:
        path = self.probe.state.folder / (name or key_of(recipe.to_json()))
        texts = self.probe.texts if recipe.reads_texts else None
        report = convert(
            self.probe.source,
            path,
            recipe=recipe,
            task=self.probe.task,
            route=self.probe.route,
            calibrate=texts,
            max_length=self.max_length,
            base=self.probe.base,
            progress=self.probe.progress,
        )
        self._reports[path] = report
        return report, path

    # What is said when it cannot be had.

    def _nearest(self, candidates: list[Candidate]) -> str:
        size, ratio = self.goal.max_size, self.goal.max_latency_ratio
        if ratio is not None and min(candidate.latency for candidate in candidates) > ratio:
            fastest = min(candidate.latency for candidate in candidates)
            return f"the fastest is expected to take {fastest:.2f} of the time of dense int8"
        candidates = [candidate for candidate in candidates if ratio is None or candidate.latency <= ratio]
        smallest = min(candidates, key=lambda candidate: candidate.bytes)
        over = smallest.bytes - (size or 0)
        return f"the smallest is expected to weigh {format_bytes(smallest.bytes)}, {format_bytes(over)} too much"

    def _closest(self, tried: list[Trial], float_score: float | None) -> str:
        size = self.goal.max_size
        fitting = [trial for trial in tried if size is None or trial.bytes <= size]
        if not fitting:
            smallest = min(trial.bytes for trial in tried)
            return f"the smallest weighs {format_bytes(smallest)}, {format_bytes(smallest - (size or 0))} too much"
        if self.goal.max_loss is not None and all((trial.loss or 0.0) > self.goal.max_loss for trial in fitting):
            lost = min(trial.loss or 0.0 for trial in fitting)
            return f"the nearest loses {lost:.4f}, {lost - self.goal.max_loss:.4f} too much"
        best = max(fitting, key=lambda trial: trial.score or 0.0)
        assert best.score is not None
        assert float_score is not None
        part = best.score / float_score if float_score else 0.0
        missing = (self.goal.min_score or 0.0) - part
        return f"the best has {part:.2%} of the float32 score at {format_bytes(best.bytes)}, {missing:.2%} too little"
