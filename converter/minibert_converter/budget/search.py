"""The search itself: choose among what was measured, and try the best choices for real."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from minibert.errors import InputError
from minibert.format import read_model, write_model
from minibert_converter.budget.candidates import Candidate
from minibert_converter.budget.choice import Trial, explained
from minibert_converter.budget.clock import Clock, Say, TimeUpError
from minibert_converter.budget.costs import FILE_COST
from minibert_converter.budget.goal import Goal
from minibert_converter.budget.interval import Score, kept
from minibert_converter.budget.pool import Pool
from minibert_converter.budget.probe import Source
from minibert_converter.budget.result import GoalError, SearchResult, nearest, promise
from minibert_converter.budget.space import FORMS, PRUNING, forms_worth_trying
from minibert_converter.budget.state import State, folder_key, key_of
from minibert_converter.budget.targets import Target, this_machine
from minibert_converter.convert import check_target, convert
from minibert_converter.progress import OnProgress, no_progress
from minibert_converter.recipe import Recipe
from minibert_converter.report import Report, format_bytes

#: How good a file is on the user's examples: any figure of which more is better, or a Score that can be left out of.
Scorer = Callable[[Path], float | Score]

#: Files that are made and measured before a search gives up.
MAX_TRIALS = 8
#: Kinds of files that may lose too much of the score before all others are thought to.
_LOST = 4
#: Of the cost of a file, what it is expected to cost to score one, until one has been scored.
_SCORING_COST = 1.0


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
    say: Say | None = None,
    minutes: float | None = None,
    words_from: str | Path | None = None,
) -> SearchResult:
    """Finds a recipe that meets a goal at the least measured loss, and writes the file; or writes nothing.

    Where the fastest file is asked for it is that, of those that keep to a loss or a score: only how weights are kept
    is searched then, and nothing is pruned. Why matrices are kept as they are stands in the file's report.

    What the smallest and fastest file would be is known from shapes, so that what cannot be had is refused at once.
    Each way of storing each matrix and the word embeddings is tried alone on calibration texts; pruning is tried as
    a whole, at the share that arithmetic says is needed, where the goal can't be had without. A knapsack
    (`knapsack.frontier`) combines them. The best combinations are then made for real, weighed, and scored on the
    user's examples. A least score is held to the lower end of its interval (`interval.kept`), where the scorer says
    what groups of examples do to it: the promise is for examples that nobody has seen.

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
        say: given lines about phases, steps, the best file so far and the time left.
        minutes: after which the search ends, with the best file that was found, or none; what was measured is kept.
        words_from: texts that the vocabulary may be cut to, as a last resort; a file as `--vocab-from` takes it.

    Raises:
        GoalError: the goal can't be met, or was not in this time; says by how much.
        InputError: a goal with a score without examples, and all that `convert` raises.
    """
    if goal.min_score is not None and score is None:
        raise InputError("a least score needs examples to measure it on (--eval)")
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes is {minutes}; a search takes more than none")
    clock = Clock(say or (lambda _: None), progress or no_progress, minutes)
    source = Path(src)
    path = check_target(source, Path(out))
    target = target or this_machine()
    texts = list(texts) if texts is not None else None
    passes = [dict(table) for table in first]
    inputs = [folder_key(source, path), texts, score_key, passes, seed, task, route, max_length, _SPACE]
    inputs += [asdict(target), None if words_from is None else str(words_from)]
    if base is not None:
        inputs.append(folder_key(Path(base), path))
    state = State(path, inputs)
    limit = "" if minutes is None else f", in at most {minutes:g} minutes"
    clock.say(f"a search for a recipe: {goal}{limit}; what it has measured is kept in {state.folder} if it is stopped")
    checkpoint = Source(source, texts, seed, task, route, base, max_length)
    pool = Pool(checkpoint, passes, target, state, clock, goal, words_from)
    try:
        found, best = _Search(pool, score).best()
    except GoalError:
        if state.is_empty():
            state.remove()
        raise
    os.replace(best, path)
    state.remove()
    return found


#: A state measured over other choices is of no use.
_SPACE = [2, list(PRUNING.items()), list(FORMS)]


class _Search:
    """Trials: files that are made of the candidates of a pool, weighed and scored."""

    def __init__(self, pool: Pool, score: Scorer | None) -> None:
        self.pool, self.goal, self.clock, self.state = pool, pool.goal, pool.clock, pool.state
        self._score = score
        self._reports: dict[Path, Report] = {}
        self._full: Score | None = None
        self.clock.file = FILE_COST + (0 if score is None else _SCORING_COST)

    def best(self) -> tuple[SearchResult, Path]:
        """The best file that meets the goal, made and measured."""
        tried: list[Trial] = []
        ended = False
        candidates = self.pool.begin(self._expected_files)
        known = self.state.has("float score") or self._score is None
        self.clock.later = 0.0
        self.clock.phase(
            4, [self.clock.file] * (self._expected_files + (not known)), most=self._halves or self._score is not None
        )
        try:
            if self._score is not None:
                self._full = self._float_score(self._score)
            self._try(candidates, tried)
        except TimeUpError:
            ended = True
        good = self._best_of(tried)
        if good is None:
            self._refuse(tried, candidates, ended)
        return self._found(good, tried, ended)

    @property
    def _expected_files(self) -> int:
        return _LOST if self._halves or self.goal.min_score is not None else 2

    def _best_of(self, tried: Sequence[Trial]) -> Trial | None:
        holding = [trial for trial in tried if trial.holds]
        return min(holding, key=lambda trial: trial.candidate.weight if self._halves else 0.0, default=None)

    def _refuse(self, tried: list[Trial], candidates: list[Candidate], ended: bool) -> NoReturn:
        near = nearest(self.goal, tried) if tried else self.pool.nearest(candidates)
        if not ended:
            none = "no recipe was found that meets" if tried else "no recipe meets"
            raise GoalError(f"{none} the budget ({self.goal}): {near}")
        raise GoalError(
            f"the time was up before a recipe was found that meets the budget ({self.goal}): {near}; with more "
            f"--minutes the search goes on from what {self.state.folder} has"
        )

    def _found(self, good: Trial, tried: list[Trial], ended: bool) -> tuple[SearchResult, Path]:
        candidate = good.candidate
        path = self._path(candidate.recipe)
        report = self._reports.get(path)
        if report is None:
            with self.clock.unlimited():
                report = self._file(candidate)
        choice = self._explained(tried, good) if self.goal.fastest else []
        if good.kept is not None:
            choice += promise(self.goal, good.kept)
        if candidate.cut:
            choice.append("its vocabulary was cut to the calibration texts: other words are spelled in pieces")
        if choice:
            report = _with_choice(path, report, choice)
        seconds = self.clock.seconds
        found = SearchResult(
            replace(report, seconds=seconds),
            candidate.recipe,
            score=good.score,
            float_score=None if self._full is None else self._full.whole,
            latency=candidate.latency,
            loss=good.loss,
            trials=tuple(tried),
            target=self.pool.target,
            goal=self.goal,
            kept=good.kept,
            expected_loss=candidate.loss,
            seconds=seconds,
            ended=ended,
        )
        return found, path

    # Which files are made.

    def _try(self, candidates: list[Candidate], tried: list[Trial]) -> None:
        """Makes files until one holds that cannot be bettered, or there is nothing left to try."""
        for candidate in self._order(candidates, tried):
            tried.append(self._trial(candidate))
            good = self._best_of(tried)
            if good is not None:
                self.clock.say(f"best so far: {_measured(good)}{self.clock.left()}")
            if (tried[-1].holds and not self._halves) or len(tried) >= MAX_TRIALS:
                return

    @property
    def _halves(self) -> bool:
        """Whether the best file is found by halving what is left, not by trying the least loss first."""
        return self.goal.fastest or (self.goal.min_score is not None and self.goal.max_size is None)

    def _order(self, candidates: list[Candidate], tried: list[Trial]) -> Iterator[Candidate]:
        """Points in the order in which to try them, as the trials so far suggest."""
        if self._halves:
            yield from self._halving([each for each in candidates if self.pool.fits(each)], tried)
            return
        # The least loss first. What turned out larger than expected raises all expectations; of what lost too much of
        # the score there is no more, as others like it lose more, and few others do it better.
        done: set[str] = set()
        wide = False
        while True:
            slack = max((trial.bytes - trial.candidate.bytes for trial in tried), default=0)
            if tried and not self.pool.weighs(tried[-1].bytes):
                candidates = self.pool.candidates(slack, wide=wide)
            elif tried and not wide:
                wide = True
                self.clock.later = self.clock.file * (_LOST - 1)
                self.pool.begin_removing()
                candidates = self.pool.candidates(slack, wide=True)
                self.clock.later = 0.0
                self.clock.phase(4, [self.clock.file] * (_LOST - 1), most=True)
            lost = {trial.candidate.kind for trial in tried if self.pool.weighs(trial.bytes) and not trial.holds}
            left = [
                each
                for each in candidates
                if self.pool.fits(each, slack) and each.kind not in lost and key_of(each.recipe.to_json()) not in done
            ]
            if not left or len(lost) >= _LOST:
                return
            chosen = min(left, key=lambda each: (each.loss, each.bytes))
            done.add(key_of(chosen.recipe.to_json()))
            yield chosen

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

    # What is measured of a file.

    def _float_score(self, score: Scorer) -> Score:
        def measure() -> Any:
            path = self.state.folder / "float32"
            source = self.pool.source
            convert(
                source.folder,
                path,
                recipe=Recipe(),
                task=source.task,
                route=source.route,
                max_length=source.max_length,
                base=source.base,
                progress=self.clock.progress,
            )
            found = Score.of(score(path))
            path.unlink()
            return found

        if self.state.has("float score"):
            return Score.of(self.state.get("float score", measure))
        with self.clock.step("the float32 model's score", self.clock.file, for_file=True):
            return Score.of(self.state.get("float score", measure))

    def _trial(self, candidate: Candidate) -> Trial:
        """Makes a file and measures it."""
        # Another goal may take up what was measured for this one.
        key = f"trial {key_of(candidate.recipe.to_json())}{', its loss' * (self.goal.max_loss is not None)}"
        if self.state.has(key):
            size, value, loss = self.state.get(key, lambda: None)
        else:
            what = f"a file of {format_bytes(candidate.bytes)} with {candidate}"
            with self.clock.step(what, self.clock.file + self.pool.cost_of(candidate), for_file=True):
                size, value, loss = self.state.get(key, lambda: self._measured(candidate))
        score = None if value is None else Score.of(value)
        part = None if score is None or self._full is None else kept(score, self._full)
        least = self.goal.min_score
        holds = (
            self.pool.weighs(size)
            and (least is None or (part is not None and part.least >= least))
            and (self.goal.max_loss is None or loss <= self.goal.max_loss)
        )
        trial = Trial(candidate, size, None if score is None else score.whole, loss, holds, part)
        self.clock.say(f"it has {_measured(trial)}: {'it' if holds else 'it does not'} meet{'s' * holds} the budget")
        return trial

    def _measured(self, candidate: Candidate) -> list[Any]:
        report = self._file(candidate)
        path = self._path(candidate.recipe)
        score = None if self._score is None else Score.of(self._score(path))
        loss = None if self.goal.max_loss is None else self.pool.probe(candidate).loss_of_file(path)
        return [report.file_bytes, score, loss]

    def _path(self, recipe: Recipe) -> Path:
        return self.state.folder / key_of(recipe.to_json())

    def _file(self, candidate: Candidate) -> Report:
        path = self._path(candidate.recipe)
        self._reports[path] = self.pool.probe(candidate).make(candidate.recipe, candidate.base, path)
        return self._reports[path]

    def _explained(self, tried: Sequence[Trial], taken: Trial) -> list[str]:
        """Why matrices are kept as they are, in sentences."""
        probe = self.pool.probe(taken.candidate)
        shapes = probe.shapes().shapes
        measured = probe.forms(forms_worth_trying(shapes, probe.target))
        losses = {form: {name: lost for name, (_, lost) in its.items()} for form, its in measured.items()}
        lines = explained(probe.target, shapes, losses, tried, taken)
        return [f"the fastest was asked for that keeps to {self.goal}", *lines]


def _with_choice(path: Path, report: Report, lines: Sequence[str]) -> Report:
    """The report, in the file too, with why it was chosen."""
    report = replace(report, choice=tuple(lines))
    file = read_model(path, copy=True)
    size = write_model(path, replace(file.config, report=report.stored_json()), file.tensors)
    return replace(report, file_bytes=size)


def _measured(trial: Trial) -> str:
    found = [format_bytes(trial.bytes), f"expected loss {trial.candidate.loss:.4f}"]
    if trial.loss is not None:
        found.append(f"loss {trial.loss:.4f}")
    if trial.score is not None:
        found.append(f"score {trial.score:.4f}")
    if trial.kept is not None:
        found.append(f"kept {trial.kept}")
    return ", ".join([*found, f"{trial.candidate.latency:.2f} of the time of dense int8"])
