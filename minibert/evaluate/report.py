"""What all measurements say."""

from __future__ import annotations

import time
from typing import Any


def report(task: str, texts: int, figures: dict[str, float], start: float) -> dict[str, Any]:
    """Figures between what was done and how long it took, since `start` of time.perf_counter."""
    seconds = time.perf_counter() - start
    return {"task": task, "texts": texts, **figures, "seconds": seconds, "texts_per_second": texts / seconds}
