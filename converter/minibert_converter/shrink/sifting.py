"""Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): many students train a little, the best of them longer.

Where a part of the teacher's score is to be kept, what is halved is the range of sizes in which the smallest student
that keeps it is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import minibert
from minibert.format import read_model
from minibert_converter.budget.state import State, key_of
from minibert_converter.shrink.goal import Goal
from minibert_converter.shrink.judge import Judge, Kept
from minibert_converter.shrink.space import ladder, proposals
from minibert_converter.shrink.student import Cutter, Student
from minibert_converter.shrink.trainings import Job, Workshop

#: Of each rung: students a worker, and the part of the time.
RUNGS = ((4, 0.28), (2, 0.27), (1, 0.35))
#: What more training is expected to add to the part of the score that is kept, after each rung.
_GAINS = (0.03, 0.008, 0.0)
#: Seconds of a trial beside its training, until trials have told.
_OVERHEAD = 15.0
#: A rung whose students would train for less tells nothing.
_LEAST_SECONDS = 20.0
#: Standard deviations that the part of the score must lie above what is to be kept: 80% one-sided.
_SURE = 0.84
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
        seconds: that it took beside its training.
    """

    student: Student
    key: str
    rung: int
    bytes: int
    latency: float
    likeness: float
    kept: Kept
    seconds: float

    @property
    def sure(self) -> float:
        """The part of the score that is kept with some certainty, as far as the texts for choosing can tell."""
        return self.kept.part - _SURE * (self.kept.high - self.kept.low) / 3.92

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

    def run(self) -> None:
        """Trains students until the time is over; see `best`."""
        rungs = [rung for rung in range(len(RUNGS)) if self._seconds(rung) >= _LEAST_SECONDS or rung == len(RUNGS) - 1]
        for number, rung in enumerate(rungs, 1):
            plan = self.state.get(f"plan {self.minutes:g} {rung}", lambda rung=rung: self._plan(rung))
            self.watcher.rung(number, len(rungs), len(plan["students"]))
            self._train(rung, [Student(**one) for one in plan["students"]], plan["seconds"])

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
        """Students that are the best of their size, from the smallest on."""
        found: list[Trial] = []
        for trial in sorted(self.trials, key=lambda trial: (trial.bytes, -trial.likeness)):
            if not found or trial.likeness > found[-1].likeness:
                found.append(trial)
        return found

    def _cost(self, trial: Trial) -> float:
        """What there should be as little of as possible."""
        only_time = self.goal.max_latency_ratio is not None and self.goal.max_size is None
        return trial.latency if only_time else trial.bytes

    # What is tried.

    def _seconds(self, rung: int) -> float:
        """That each student of a rung trains."""
        students, share = RUNGS[rung]
        beside = [trial.seconds for trial in self.trials]
        # At least half of the time is for trainings, whatever was spent before.
        seconds = max(60 * self.minutes - self.spent, 30 * self.minutes)
        return seconds * share / students - (sum(beside) / len(beside) if beside else _OVERHEAD)

    def _plan(self, rung: int) -> dict[str, Any]:
        """The students of a rung, and the seconds that each trains."""
        count = RUNGS[rung][0] * self.workshop.workers
        if not self.trials:
            students = self._first(count)
        elif self.goal.keep is None:
            students = self._promoted(count)
        else:
            students = self._around(count, rung)
        seconds = max(self._seconds(rung), 1.0) * count / max(len(students), 1)
        return {"students": [asdict(student) for student in students], "seconds": round(seconds, 1)}

    def _first(self, count: int) -> list[Student]:
        if self.goal.keep is None:
            return proposals(self.cutter, lambda size, time: self._fits(_UNSURE * size, time), count)
        sizes = ladder(self.cutter, self._fits, count)
        return [one for size in sizes for one in self._of_size(size, -(-count // len(sizes)))][:count]

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
        """Shapes of the sizes around the smallest that may keep enough once it has trained for longer."""
        front = self.front()
        last = max(trial.rung for trial in self.trials)
        hope = self.goal.keep - _GAINS[last] if self.goal.keep is not None else 0.0
        place = next((i for i, trial in enumerate(front) if trial.sure >= hope), len(front) - 1)
        low = front[place - 1].bytes if place else front[0].bytes / 1.3
        here = front[place]
        high = front[place + 1].bytes if place + 1 < len(front) else here.bytes * 1.3
        # From what is needed most to what is only hoped for.
        sizes = [here.bytes, (here.bytes * high) ** 0.5, (here.bytes * low) ** 0.5, high]
        if rung == len(RUNGS) - 1:
            sizes = [here.bytes, (here.bytes * high) ** 0.5]
        chosen: list[Student] = []
        for size in sizes:
            over = here.bytes - self.cutter.bytes(here.student)
            again = self.cutter.filled(
                here.student, lambda b, t, over=over, size=size: b + over <= size and self._fits(b + over, t)
            )
            for student in [*([again] if again else []), *self._of_size(size, 1)]:
                if student not in chosen:
                    chosen.append(student)
        return chosen[:count]

    def _train(self, rung: int, students: Sequence[Student], seconds: float) -> None:
        """Trains students, those that a stopped search has not trained yet."""
        jobs, shapes = [], {}
        done = 0
        for student in students:
            recipe = self.cutter.recipe(student, self.seed)
            job = Job(key_of([recipe, seconds]), recipe, seconds)
            if self.state.has(f"trial {job.key}"):
                self.trials.append(Trial.from_json(self.state.get(f"trial {job.key}", dict)))
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
