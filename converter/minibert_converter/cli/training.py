"""How a training says on stderr how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TextIO

from minibert.progress import Stages

#: Seconds between two lines where stderr is no terminal.
_PAUSE = 30.0


class Lines(Stages):
    """Stages, then a line a training: steps, loss, density, time left; and the figures of each epoch."""

    def __init__(self, *, stream: TextIO | None = None) -> None:
        super().__init__(stream=stream)
        self._next = 0.0

    def moment(self, now: Any) -> None:
        """A `minibert_converter.distill.training.Moment`."""
        if time.monotonic() < self._next and now.step < now.steps:
            return
        self._next = time.monotonic() + (0.5 if self._terminal else _PAUSE)
        minutes, seconds = divmod(round(now.seconds_left), 60)
        line = f"step {now.step:,} of {now.steps:,}: loss {now.loss:.4f}, density {now.density:.0%}"
        line += f", {minutes}:{seconds:02d} left"
        self._write(line if self._terminal else line + "\n")

    def score(self, epochs: int, figures: Mapping[str, Any]) -> None:
        """Figures of the student after some epochs."""
        shown = [f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float) and value <= 1]
        self._write(f"after {epochs} {'epoch' if epochs == 1 else 'epochs'}: {', '.join(shown)}\n")
