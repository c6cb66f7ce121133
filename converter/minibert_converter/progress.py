"""How long work says how far it is: a function that takes the stage, what is done and what there is to do."""

from __future__ import annotations

from collections.abc import Callable

#: `progress(stage, done, total)`; called with done == 0 when a stage starts and done == total when it ends.
OnProgress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Says nothing."""
