"""One line of progress on stderr, for work that takes a while."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_INTERVAL = 0.1


class Progress:
    """A counter that rewrites its line, `encode: 512/3080 (640/s)`, and clears it at the end.

    Writes nothing where the stream is not a terminal, so logs and pipes stay clean.

    Args:
        name: what is being counted; None writes nothing at all.
        total: how many there will be, if known.
        stream: where to write; stderr by default.
    """

    def __init__(self, name: str | None, total: int | None = None, *, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._visible = name is not None and self._stream.isatty()
        self._name, self._total = name, total
        self._start = self._next = time.monotonic()
        self.done = 0

    def update(self, count: int) -> None:
        """Count `count` more."""
        self.done += count
        now = time.monotonic()
        if self._visible and now >= self._next:
            self._next = now + _INTERVAL
            total = "" if self._total is None else f"/{self._total}"
            rate = self.done / max(now - self._start, 1e-9)
            self._stream.write(f"\r\x1b[K{self._name}: {self.done}{total} ({rate:.0f}/s)")
            self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
