"""Memory that kernels work in: on cache-line boundaries."""

from __future__ import annotations

import numpy as np

from minibert.format.constants import ALIGNMENT
from minibert.tuples import NamedTuple


class MemoryPlan(NamedTuple):
    """What a forward pass takes, in bytes, known before it runs.

    Attributes:
        weights: mapped from the file, shared by all processes that read it; resident as far as they are used.
        made: what the engine makes beside the file's tensors: tables of biases and rotations, dense copies of some
            block-sparse matrices.
        workspace: what all threads work in: of one fixed size, whatever the batch, and kept for the next call.
        batch: token ids, token types and where texts start.
        answer: the rows that the caller gets.
    """

    weights: int
    made: int
    workspace: int
    batch: int
    answer: int

    @property
    def peak(self) -> int:
        """All but the file's own pages: what the process needs at most while the pass runs."""
        return self.made + self.workspace + self.batch + self.answer


def empty(size: int) -> np.ndarray:
    """Zeroed bytes on a cache-line boundary; the operating system gives them when they are first touched."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a cache line."""
    copy = empty(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def address(array: np.ndarray) -> int:
    """Address of an array's memory, without the detour through ctypes."""
    return array.__array_interface__["data"][0]
