"""Rows of float32 that show where arithmetic may go wrong."""

from __future__ import annotations

import numpy as np

#: Kinds of rows that `rows` makes, all of them finite.
ROWS = ("random", "zeros", "one number", "tiny", "denormal", "huge", "mixed sizes", "equal", "integers")


def rows(case: str, count: int, width: int, seed: int = 0) -> np.ndarray:
    """float32 [count, width] of a kind."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, width))
    if case == "zeros":
        x[:] = 0
    elif case == "one number":
        x[:] = 0
        x[:, random.integers(width)] = -3
    elif case == "tiny":
        x *= 1e-30  # about SMALLEST_SPAN: rows on both sides of it
    elif case == "denormal":
        x *= 1e-38
    elif case == "huge":
        x *= 1e30
    elif case == "mixed sizes":
        x *= np.exp2(random.uniform(-60, 60, (count, 1)))
        x[:: max(count // 3, 1)] = 0
        x[:, ::7] *= 300
    elif case == "equal":
        x[:] = random.standard_normal((count, 1))
    elif case == "integers":
        x = random.integers(-127, 128, (count, width)).astype(np.float64)
    return x.astype(np.float32)
