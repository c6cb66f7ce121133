"""Queries x keys where a CPU multiplies broadcast rows with panels (minibert.kernels.tile), however values are weighed.

scores [key][16 queries]    rows: the keys, [4 dimensions][16 keys][4 bytes]      panel: the queries
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert.kernels.attention_codes import pack_panel
from minibert.kernels.isa import current
from minibert.kernels.isa.base import Microkernel
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.scratch import ROW, SCORES
from minibert.kernels.tile import make_tile

_isa = current()
_KEY_OFFSET = np.int32(_isa.code_offset)


def make_rows(microkernel: Microkernel) -> Any:
    """Kernel: `count` rows (rounded up to the tile's height) x one panel."""
    height = _isa.attention_mr
    tile = make_tile(microkernel, height, 1)

    def rows(row, count, row_stride, row_step, panel, steps, out):
        for first in range(0, count, height):
            tile(row + first * row_stride, row_stride, row_step, panel, 0, steps, out + first * ROW, ROW)

    return kernel(void, *[int64] * 7)(rows)


int8_rows = make_rows(_isa.int8)


@kernel(int64, int64)
def key_bytes(width):
    """Bytes of a key's codes."""
    return width


@kernel(void, int64, int64, int64, int64, int64)
def pack_keys(transposed, width, panel, codes, scale):
    """Codes of 16 keys, with their scales. `panel` has room for them that nobody uses here."""
    pack_panel(transposed, width, _KEY_OFFSET, codes, scale)


@kernel(void, int64, int64)
def pad_panel(panel, width):
    """A panel of queries needs nothing behind its last dimension."""


@kernel(void, int64, int64, int64, int64, int64, int64)
def score_block(scratch, key_codes, block, keys, width, panel):
    """Integer scores of `keys` keys from number `block` on."""
    for group in range(0, keys, 16):
        rows = key_codes + (block + group) * width
        count = min(keys - group, 16)
        int8_rows(rows, count, 4, ROW, panel, width >> 2, scratch + SCORES + group * ROW)
