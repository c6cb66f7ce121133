"""What lowering a plan makes: the table that the kernels walk, and how much memory they work in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minibert import numerics


class Program(NamedTuple):
    """A lowered plan.

    Attributes:
        table: int64 [steps, STEP_FIELDS].
        arena_bytes: memory of the buffers of one chunk.
        scratch_bytes: memory that each thread needs for itself.
        shared_sums_bytes: memory for sums that a team of threads makes together.
        most_width: columns of the widest step.
        macs: multiply-adds of the linears for one token.
        tensors: what the addresses in the table point to, kept alive.
    """

    table: np.ndarray
    arena_bytes: int
    scratch_bytes: int
    shared_sums_bytes: int
    most_width: int
    macs: int
    tensors: tuple[np.ndarray, ...]


def attention_scratch(tokens: int, width: int) -> int:
    """Bytes of scratch of one head: the twin of minibert.kernels.attention.scratch_bytes, without importing numba."""
    keys = -(-tokens // 64) * 64
    softmax = 5 * 64 + (2 * numerics.KEY_BLOCK + 16) * 64
    return softmax + 5 * width * 64 + keys * (4 + -(-width // 64) * 64 + 2 * width) + 64
