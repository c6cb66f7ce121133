"""One line of progress on stderr, for work that takes a while."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_INTERVAL = 0.1


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone looks at a stream; a process may have been started without any, or have closed it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def time_left(seconds: float, done: float, total: float) -> str:
    """What to say of the time left after so many seconds, once there is something to tell it by: `, 0:42 left`."""
    if not 0 < done < total or seconds < 1:
        return ""
    minutes, rest = divmod(round(seconds * (total - done) / done), 60)
    return f", {minutes}:{rest:02d} left"


class Progress:
    """A counter that rewrites its line, `encode: 512/3080 (640/s, 0:04 left)`, and clears it at the end.

    Writes nothing where the stream is not a terminal, so logs and pipes stay clean.

    Args:
        name: what is being counted; None writes nothing at all.
        total: how many there will be, if known; may be set later.
        stream: where to write; stderr by default.
    """

    def __init__(self, name: str | None, total: int | None = None, *, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._visible = name is not None and is_terminal(self._stream)
        self._name = name
        self.total: int | None = total
        self._start = self._next = time.monotonic()
        self.done: int = 0

    def update(self, count: int) -> None:
        """Count `count` more."""
        self.done += count
        now = time.monotonic()
        if self._visible and now >= self._next:
            self._next = now + _INTERVAL
            total = "" if self.total is None else f"/{self.total}"
            rate = self.done / max(now - self._start, 1e-9)
            left = "" if self.total is None else time_left(now - self._start, self.done, self.total)
            self._stream.write(f"\r\x1b[K{self._name}: {self.done}{total} ({rate:.0f}/s{left})")
            self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class Stages:
    """Progress of work in stages: call it as `stages(stage, done, total)`; done == total ends a stage.

    A terminal sees the running stage count, and the time left; a stage that has ended leaves a line with its time, in
    logs too. Where the work has steps, of one or more stages each, `step` numbers them: `2/3 quantizing: 1.4 s`.

    Attributes:
        lines: whether a stage that has ended leaves a line; work that says itself what it has done leaves none.
    """

    def __init__(self, *, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = is_terminal(self._stream)
        self._stage: str | None = None
        self._start = 0.0
        self._step = ""
        self.lines = True

    def say(self, text: str) -> None:
        """One line between stages, in logs too."""
        self._write(text + "\n")

    def step(self, number: int, steps: int) -> None:
        """Say that stages to come are of this step, of so many; of none where there are 0."""
        self._step = f"{number}/{steps} " * bool(steps)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `stage` has done so much of its total."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._start = stage, now
        if done >= total:
            if self.lines:
                self._write(f"{self._step}{stage}: {now - self._start:.1f} s\n")
            elif self._terminal:
                self._write("")
            self._stage = None
        elif self._terminal:
            left = time_left(now - self._start, done, total)
            self._write(self._step + (f"{stage}: {done}/{total}{left}" if total > 1 else f"{stage} ..."))

    def _write(self, line: str) -> None:
        """Instead of the line that stands there."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K" * self._terminal + line)
            self._stream.flush()

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage is not None and self._terminal:
            self._write("")
