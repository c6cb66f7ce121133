"""Memory that kernels work in: on cache-line boundaries."""

from __future__ import annotations

import numpy as np

from minibert.format.schema import ALIGNMENT


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
