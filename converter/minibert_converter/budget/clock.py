"""How a search says what it does, how far it is and how long it will take; and how it ends in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from minibert_converter.progress import OnProgress

#: Says one line to whoever waits.
Say = Callable[[str], None]
#: What a search does, one phase after another.
PHASES = (
    "what the smallest and the fastest file would be, by arithmetic",
    "what each form of weights loses",
    "what it loses to remove parts",
    "making files and measuring them",
)
#: Of the time that is left at least this part is kept for making the first file.
_FOR_FILES = 1.3


class TimeUpError(Exception):
    """A step would end too late; what was measured before it is kept."""


class Clock:
    """Steps of a search: what they were expected to cost, what they took, and when all has to end.

    Costs are in any unit, such as the cost of rounding a model; seconds a unit are learned from steps that are done.

    Args:
        say: says one line.
        progress: told how far a step is.
        minutes: after which the search has to end; None leaves it the time it takes.
        unit: seconds a unit of cost is expected to take, before there is a step to tell it by.
    """

    def __init__(self, say: Say, progress: OnProgress, minutes: float | None = None, unit: float = 1.0) -> None:
        self._say, self._progress = say, progress
        self._start = time.monotonic()
        self._limit = None if minutes is None else self._start + 60 * minutes
        self._unit = unit
        self._cost = self._seconds = 0.0
        self._phase = self._steps = self._done = 0
        self._ahead: list[float] = []
        #: What is to come after this phase, in units.
        self.later = 0.0
        #: What making a file costs, in units.
        self.file = 1.0
        self._at: float | None = None

    # What is said.

    def say(self, text: str) -> None:
        """One line."""
        self._say(text)

    def guess(self, unit: float) -> None:
        """Sets the seconds a unit is expected to take, until a step has shown it."""
        self._unit = unit

    def phase(self, number: int, costs: Iterable[float] = (), *, most: bool = False) -> None:
        """Begins a phase, from 1, whose steps are expected to cost so much; `most` where fewer may be enough."""
        self._phase, self._ahead, self._done = number, list(costs), 0
        self._steps = len(self._ahead)
        words = f"phase {number} of {len(PHASES)}: {PHASES[number - 1]}"
        if self._steps:
            words += f"; {'at most ' * most}{_counted(self._steps, 'step')}"
        self.say(words + self.left())

    @contextmanager
    def step(self, what: str, cost: float, *, for_file: bool = False) -> Iterator[None]:
        """One step of the phase, which `what` names.

        Raises:
            TimeUpError: it would end, or ends, later than it may: what makes no file leaves time for one.
        """
        self._done += 1
        number = f"step {self._done} of {max(self._steps, self._done)}"
        left = self.left()
        if self._ahead:
            self._ahead.pop(0)
        self._at = None
        if self._limit is not None:
            self._at = self._limit - (0 if for_file else _FOR_FILES * self.file * self._rate)
            if time.monotonic() + cost * self._rate * (0.5 if for_file else 1) > self._at:
                raise TimeUpError
        self.say(f"phase {self._phase} of {len(PHASES)}, {number}: {what}{left}")
        start = time.monotonic()
        try:
            yield
        finally:
            self._at = None
        self._cost += cost
        self._seconds += time.monotonic() - start

    def progress(self, stage: str, done: int, total: int) -> None:
        """How far a step is, told on; raises TimeUpError where it is too late."""
        if self._at is not None and time.monotonic() > self._at:
            raise TimeUpError
        self._progress(stage, done, total)

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """Work that has to be done though the time is up."""
        limit, self._limit = self._limit, None
        try:
            yield
        finally:
            self._limit = limit

    # What time there is.

    @property
    def _rate(self) -> float:
        return self._seconds / self._cost if self._cost else self._unit

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.monotonic() - self._start

    def expected(self) -> float:
        """Seconds that steps to come are expected to take, not longer than they may."""
        seconds = self._rate * (sum(self._ahead) + self.later)
        return seconds if self._limit is None else max(0.0, min(seconds, self._limit - time.monotonic()))

    def left(self) -> str:
        """What to say of the time left; nothing where nothing is left to do."""
        seconds = self.expected()
        return f"; about {clock_time(seconds)} left" if seconds >= 1 else ""


def clock_time(seconds: float) -> str:
    """Seconds for people: 2:05, which is minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
