"""Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): many students train a little, the best of them longer.

Where a part of the teacher's score is to be kept, what is halved is the range of sizes in which the smallest student
that keeps it is looked for.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import permutations
from typing import Any

import minibert
from minibert.format import read_model
from minibert_converter.budget.state import State, key_of
from minibert_converter.shrink.goal import Goal
from minibert_converter.shrink.judge import Judge, Kept
from minibert_converter.shrink.space import ladder, proposals
from minibert_converter.shrink.student import Cutter, Student
from minibert_converter.shrink.trainings import Job, Workshop

#: Of each rung: students a worker, and its share of the time; and the share of what is done when all have ended.
RUNGS = ((4, 0.28), (2, 0.27), (1, 0.35))
_END = 0.06
#: What a student still lacks of its teacher's score shrinks with this power of the time that it trains, until students
#: that were trained twice have told; and within what bounds these are believed.
_LEARNING, _LEARNING_BOUNDS = 0.4, (0.15, 0.7)
#: Where the size is looked for: shapes of each that are tried once there are so many sizes, and the largest size
#: beside the largest that there is.
_SHAPES, _SIZES, _LARGEST = 2, 4, 0.4
#: Seconds of a trial beside its training, until trials have told.
_OVERHEAD = 15.0
#: A rung whose students would train for less tells nothing.
_LEAST_SECONDS = 20.0
#: Standard deviations that the part of the score must lie above what is to be kept: 80% one-sided.
_SURE = 0.84
#: Files of which one weighs at most so much more are of one size.
_SAME_SIZE = 1.02
#: A file may weigh so much more than is foretold, before one like it was made.
_UNSURE = 1.03
#: Bytes of what is written into the file at last.
_LAST_WORDS = 1500


@dataclass(frozen=True)
class Trial:
    """A student that was trained.

    Attributes:
        student: its shape.
        key: names its file.
        rung: in which it was trained, from 0.
        bytes: of its file.
        latency: the part of the teacher's time in dense int8 that it is expected to take.
        likeness: how like its teacher it answers; see `Judge.likeness`.
        kept: of the teacher's score, on the texts for choosing.
        trained: seconds that it trained.
        seconds: that it took beside its training.
    """

    student: Student
    key: str
    rung: int
    bytes: int
    latency: float
    likeness: float
    kept: Kept
    trained: float
    seconds: float

    @property
    def margin(self) -> float:
        """How much of what it keeps may be chance, as far as the texts for choosing can tell."""
        return _SURE * (self.kept.high - self.kept.low) / 3.92

    @property
    def sure(self) -> float:
        """The part of the score that is kept with some certainty."""
        return self.kept.part - self.margin

    @property
    def shape(self) -> tuple[int, int, int, int, str, str]:
        """The student but for how many of its words and blocks stay."""
        student = self.student
        return student.layers, student.turns, student.hidden, student.rank, student.words, student.bits

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """What `asdict` made plain values of."""
        return cls(**{**value, "student": Student(**value["student"]), "kept": Kept(**value["kept"])})


@dataclass
class Watcher:
    """Who is told how far a search is.

    Attributes:
        rung: a rung begins: its number from 1, of how many, students.
        running: how far the trainings that run are: students done of how many, the best so far, seconds left in all.
        trial: of each student that was trained.
    """

    rung: Callable[[int, int, int], None] = lambda number, rungs, students: None
    running: Callable[[int, int, Trial | None, float], None] = lambda done, students, best, seconds: None
    trial: Callable[[Trial], None] = lambda trial: None


@dataclass
class Sifting:
    """A search for the best student.

    Attributes:
        cutter: of students.
        judge: of students.
        workshop: where they are trained.
        goal: what must hold.
        minutes: that it may take.
        spent: seconds of them that were spent before it.
        state: what has been done.
        seed: of all.
        watcher: who is told.
        trials: all that were trained.
    """

    cutter: Cutter
    judge: Judge
    workshop: Workshop
    goal: Goal
    minutes: float
    state: State
    seed: int
    watcher: Watcher
    spent: float = 0.0
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._rungs = list(range(len(RUNGS)))  # that are ahead

    def run(self) -> None:
        """Trains students until the time is over; see `best`."""
        last = self._rungs[-1]
        self._rungs = [rung for rung in self._rungs if self._seconds(rung) >= _LEAST_SECONDS or rung == last]
        rungs = tuple(self._rungs)
        for number, rung in enumerate(rungs, 1):
            plan = self.state.get(f"plan {self.minutes:g} {rung}", lambda rung=rung: self._plan(rung))
            self.watcher.rung(number, len(rungs), len(plan["students"]))
            self._train(rung, [Student(**one) for one in plan["students"]], plan["seconds"])
            self._rungs.remove(rung)

    # What is chosen.

    def holds(self, trial: Trial) -> bool:
        """Whether a trained student meets the goal."""
        return self.goal.fits(trial.bytes + _LAST_WORDS, trial.latency) and (
            self.goal.keep is None or trial.sure >= self.goal.keep
        )

    def best(self) -> Trial | None:
        """The best of the students so far that meet the goal."""
        good = [trial for trial in self.trials if self.holds(trial)]
        if self.goal.keep is None:
            return max(good, key=lambda trial: trial.likeness, default=None)
        return min(good, key=self._cost, default=None)

    def nearest(self) -> Trial | None:
        """Where none meets the goal, the one that misses it least."""
        fitting = [trial for trial in self.trials if self.goal.fits(trial.bytes + _LAST_WORDS, trial.latency)]
        return max(fitting, key=lambda trial: trial.sure, default=None)

    def front(self) -> list[Trial]:
        """Students that are the best of their size, from the smallest on; of those of about one size the best."""
        found: list[Trial] = []
        for trial in sorted(self.trials, key=lambda trial: (trial.bytes, -trial.likeness)):
            if not found or trial.likeness > found[-1].likeness:
                same = found and trial.bytes <= _SAME_SIZE * found[-1].bytes
                found[len(found) - 1 if same else len(found) :] = [trial]
        return found

    def _cost(self, trial: Trial) -> float:
        """What there should be as little of as possible."""
        only_time = self.goal.max_latency_ratio is not None and self.goal.max_size is None
        return trial.latency if only_time else trial.bytes

    # What is tried.

    def _seconds(self, rung: int) -> float:
        """That each student of a rung that is ahead trains: its share of the time that is left."""
        students, share = RUNGS[rung]
        beside = [trial.seconds for trial in self.trials]
        # At least half of the time is for trainings, whatever was spent before.
        left = max(60 * self.minutes - self.spent, 30 * self.minutes) - self._trained(self.trials)
        share /= sum(RUNGS[each][1] for each in self._rungs) + _END
        return max(left, 0.0) * share / students - (sum(beside) / len(beside) if beside else _OVERHEAD)

    def _trained(self, trials: Sequence[Trial]) -> float:
        """Seconds that these took, as many at a time as there are workers."""
        return sum(trial.trained + trial.seconds for trial in trials) / self.workshop.workers

    def _plan(self, rung: int) -> dict[str, Any]:
        """The students of a rung, and the seconds that each trains."""
        count = RUNGS[rung][0] * self.workshop.workers
        if not self.trials:
            students = self._first(count)
        elif self.goal.keep is None:
            students = self._promoted(count)
        else:
            students = self._around(count, rung)
        # Fewer students than there is time for train longer, as many at a time as there are workers.
        turns = -(-len(students) // self.workshop.workers)
        seconds = max(self._seconds(rung), 1.0) * RUNGS[rung][0] / max(turns, 1)
        return {"students": [asdict(student) for student in students], "seconds": round(seconds, 1)}

    def _first(self, count: int) -> list[Student]:
        if self.goal.keep is None:
            return proposals(self.cutter, lambda size, time: self._fits(_UNSURE * size, time), count)
        most = _LARGEST * max(ladder(self.cutter, self._fits, 1), default=0)
        shapes = _SHAPES if count >= _SHAPES * _SIZES else 1
        sizes = ladder(self.cutter, lambda size, time: size <= most and self._fits(size, time), -(-count // shapes))
        return [one for size in sizes for one in self._of_size(size, shapes)][:count]

    def _of_size(self, size: float, count: int) -> list[Student]:
        return proposals(self.cutter, lambda b, t: b <= size and self._fits(b, t), count)

    def _fits(self, size: float, latency: float) -> bool:
        return self.goal.fits(size + _LAST_WORDS, latency)

    def _promoted(self, count: int) -> list[Student]:
        """The shapes most like their teacher so far, filled up to the budget by what their files really weigh."""
        chosen: list[Student] = []
        for trial in sorted(self.trials, key=lambda trial: -trial.likeness):
            over = trial.bytes - self.cutter.bytes(trial.student)
            again = self.cutter.filled(trial.student, lambda b, t, over=over: self._fits(b + over, t))
            if again is not None and again not in chosen:
                chosen.append(again)
        return chosen[:count]

    def _around(self, count: int, rung: int) -> list[Student]:
        """Students from the smallest that may keep enough at last, on to larger ones, and back to smaller ones."""
        assert self.goal.keep is not None
        last = rung == len(RUNGS) - 1
        hopes = sorted(self._hopes().values(), key=lambda hope: self._cost(hope[0]))
        front: list[tuple[Trial, float]] = []  # those of which more is hoped for than of all smaller ones
        for hope in hopes:
            if not front or hope[1] > front[-1][1]:
                front.append(hope)
        enough = [place for place, (_, part) in enumerate(front) if part >= self.goal.keep]
        here = enough[0] if enough else len(front) - 1
        # The last must not be too small: beside it stands a larger one. Before, smaller ones may surprise.
        steps = (0, 1, 2, 3, -1, -2) if last else (0, -1, 1, -2, 2, -3, 3)
        chosen = [front[here + step][0].student for step in steps if 0 <= here + step < len(front)]
        if not last and here:
            low, high = front[here - 1][0], front[here][0]
            over = high.bytes - self.cutter.bytes(high.student)
            chosen[1:1] = self._of_size((low.bytes * high.bytes) ** 0.5 - over, 1)
        if not enough or (last and len(chosen) < count):
            trial = front[here][0]
            over = trial.bytes - self.cutter.bytes(trial.student)
            larger = [one for size in (1.4, 2.0) for one in self._of_size(size * trial.bytes - over, 1)]
            chosen = [*larger, *chosen] if not enough else [chosen[0], *larger, *chosen[1:]]
        return list(dict.fromkeys(chosen))[:count]

    def _hopes(self) -> dict[Any, tuple[Trial, float]]:
        """By student, its longest training, and the part that is surely kept once it trains for as long as the last."""
        longest: dict[Student, Trial] = {}
        for trial in sorted(self.trials, key=lambda trial: trial.trained):
            longest[trial.student] = trial
        power, seconds = self._learning(), self._seconds(len(RUNGS) - 1)
        return {
            student: (
                trial,
                1 - (1 - trial.kept.part) * (trial.trained / max(seconds, trial.trained)) ** power - trial.margin,
            )
            for student, trial in longest.items()
        }

    def _learning(self) -> float:
        """The power of time with which what students lack shrinks, by those that were trained twice."""
        found = []
        for short, long in permutations(self.trials, 2):
            if short.shape == long.shape and long.trained > 1.3 * short.trained:
                lacks = max(1 - long.kept.part, 1e-3) / max(1 - short.kept.part, 1e-3)
                found.append(-math.log(lacks) / math.log(long.trained / short.trained))
        low, high = _LEARNING_BOUNDS
        return min(max(statistics.median(found), low), high) if len(found) > 1 else _LEARNING

    def _train(self, rung: int, students: Sequence[Student], seconds: float) -> None:
        """Trains students, those that a stopped search has not trained yet."""
        jobs, shapes = [], {}
        done = 0
        for student in students:
            recipe = self.cutter.recipe(student, self.seed)
            job = Job(key_of([recipe, seconds]), recipe, seconds)
            if self.state.has(f"trial {job.key}"):
                self.trials.append(known := Trial.from_json(self.state.get(f"trial {job.key}", dict)))
                self._began -= self._trained([known])  # as if it had been trained now
                done += 1
            else:
                jobs.append(job)
                shapes[job.key] = student
        finished = done

        def ended(job: Job, end: Mapping[str, Any]) -> None:
            nonlocal finished
            path = self.workshop.student(job.key)
            answers = self.judge.answers(minibert.load(path))
            student = shapes[job.key]
            beside = end["seconds"] - seconds
            trial = Trial(
                student,
                job.key,
                rung,
                int(end["bytes"]),
                self.cutter.latency(student),
                self.judge.likeness(answers),
                self.judge.kept(answers),
                seconds,
                beside,
            )
            self.state.get(f"trial {job.key}", lambda: asdict(trial))
            self.trials.append(trial)
            finished += 1
            self.watcher.trial(trial)

        def told(far: Mapping[str, Mapping[str, Any]]) -> None:
            left = max(60 * self.minutes - self.spent - (time.monotonic() - self._began), 0.0)
            self.watcher.running(finished, len(students), self.best() or self.nearest(), left)

        self.workshop.train(jobs, ended, told)


def recipe_of(trial: Trial, workshop: Workshop) -> dict[str, Any]:
    """The recipe of a trained student as its file has it, with the passes over the texts that its time allowed."""
    return dict(read_model(workshop.student(trial.key)).config.recipe)
