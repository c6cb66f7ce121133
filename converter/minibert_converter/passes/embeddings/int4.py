"""Tables in 4-bit codes: one step for each 32 columns of a row, a whole multiple of the row's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minibert.format.constants import MAX_MULTIPLIER, NIBBLE_GROUP
from minibert_converter.network import Float32Array, Int4Table, Int8Array

_LIMIT = 7
#: Rows that are rounded at once, which bounds memory.
_CHUNK = 4096


def int4_table(table: Float32Array) -> Int4Table:
    """Codes of a float32 [rows, H] table.

    A row's step is such that its widest group of columns has the largest multiplier; each other group takes the
    multiplier that leaves the smallest squared error, which may cut off its largest numbers.
    """
    rows, columns = table.shape
    groups = -(-columns // NIBBLE_GROUP)
    codes = np.zeros((rows, columns), np.int8)
    multiplier = np.ones((rows, groups), np.uint8)
    scale = np.zeros(rows, np.float32)
    for first in range(0, rows, _CHUNK):
        part = slice(first, first + _CHUNK)
        scale[part] = np.abs(table[part]).max(axis=1, initial=0) / np.float32(_LIMIT * MAX_MULTIPLIER)
        codes[part], multiplier[part] = _rounded(table[part], np.where(scale[part] > 0, scale[part], np.float32(1)))
    return Int4Table(codes, multiplier, scale)


def _rounded(table: Float32Array, scale: Float32Array) -> tuple[Int8Array, npt.NDArray[np.uint8]]:
    """Codes and multipliers of rows whose steps are known."""
    rows, columns = table.shape
    filled = np.pad(table / scale[:, None], ((0, 0), (0, -columns % NIBBLE_GROUP))).reshape(rows, -1, NIBBLE_GROUP)
    best = np.full(filled.shape[:2], np.inf, np.float32)
    multiplier = np.ones(filled.shape[:2], np.uint8)
    for times in range(1, MAX_MULTIPLIER + 1):
        error = ((_codes(filled, np.float32(times)) * np.float32(times) - filled) ** 2).sum(axis=2)
        better = error < best
        multiplier[better] = times
        best = np.where(better, error, best)
    codes = _codes(filled, multiplier[:, :, None].astype(np.float32)).astype(np.int8)
    return codes.reshape(rows, -1)[:, :columns], multiplier


def _codes(groups: Float32Array, times: np.float32 | Float32Array) -> Float32Array:
    return np.clip(np.rint(groups / times), -_LIMIT, _LIMIT)
