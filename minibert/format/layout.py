"""The order in which the numbers of a weight matrix lie in the file: the order in which the kernels read them.

A matrix `[out, in]` is cut into panels of LANES outputs. Within a panel the inputs follow one another, and for each
input (or group of GROUP inputs, for int8) the values of all LANES outputs lie side by side: one 64-byte load of an
int8 panel is 16 outputs × 4 inputs, which is one `vpdpbusd` on 512-bit registers, two on 256 bits and four `sdot` on
128 bits. The same bytes serve every CPU. Outputs that only fill the last panel are zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minibert.format.schema import GROUP, LANES, padded


def pack_int8(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Lay an int8 matrix out in panels.

    Args:
        weight: int8 `[out, in]`, `in` a multiple of GROUP.

    Returns:
        int8 `[padded(out) / 16, in / 4, 16, 4]`, C-contiguous, zero where outputs are padding.

    Raises:
        ValueError: if the matrix is not int8, not two-dimensional, or `in` is not a multiple of GROUP.
    """
    out_features, in_features = _matrix_shape(weight, np.int8)
    if in_features % GROUP:
        raise ValueError(f"an int8 matrix needs a multiple of {GROUP} inputs, not {in_features}: pad it with zeros")
    panels = _padded_rows(weight).reshape(padded(out_features) // LANES, LANES, in_features // GROUP, GROUP)
    return np.ascontiguousarray(panels.transpose(0, 2, 1, 3))


def unpack_int8(packed: NDArray[np.int8], out_features: int | None = None) -> NDArray[np.int8]:
    """Undo `pack_int8`.

    Args:
        packed: int8 `[P, in / 4, 16, 4]`.
        out_features: outputs to keep; all of them, padding included, if None.

    Returns:
        int8 `[out_features, in]`, C-contiguous.
    """
    panels, groups = packed.shape[:2]
    rows = packed.transpose(0, 2, 1, 3).reshape(panels * LANES, groups * GROUP)
    return np.ascontiguousarray(rows[:out_features])


def pack_float32(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay a float32 matrix out in panels.

    Args:
        weight: float32 `[out, in]`.

    Returns:
        float32 `[padded(out) / 16, in, 16]`, C-contiguous, zero where outputs are padding.

    Raises:
        ValueError: if the matrix is not float32 or not two-dimensional.
    """
    out_features, in_features = _matrix_shape(weight, np.float32)
    panels = _padded_rows(weight).reshape(padded(out_features) // LANES, LANES, in_features)
    return np.ascontiguousarray(panels.transpose(0, 2, 1))


def unpack_float32(packed: NDArray[np.float32], out_features: int | None = None) -> NDArray[np.float32]:
    """Undo `pack_float32`.

    Args:
        packed: float32 `[P, in, 16]`.
        out_features: outputs to keep; all of them, padding included, if None.

    Returns:
        float32 `[out_features, in]`, C-contiguous.
    """
    panels, in_features = packed.shape[:2]
    rows = packed.transpose(0, 2, 1).reshape(panels * LANES, in_features)
    return np.ascontiguousarray(rows[:out_features])


def _matrix_shape(weight: NDArray, dtype: type) -> tuple[int, int]:
    if weight.ndim != 2 or weight.dtype != dtype:
        raise ValueError(f"expected a {np.dtype(dtype)} matrix, not {weight.dtype} {list(weight.shape)}")
    return weight.shape


def _padded_rows(weight: NDArray) -> NDArray:
    missing = padded(weight.shape[0]) - weight.shape[0]
    return np.pad(weight, ((0, missing), (0, 0))) if missing else weight
