"""Where the dense product of a block-sparse matrix is faster than the product of its blocks, as recorded here.

A block-sparse matrix nearly always runs by its blocks. Where few tokens meet a rather dense matrix the dense product
can win, and so it can for many tokens on a CPU that multiplies whole tiles; then the engine keeps a dense copy of that
matrix beside its blocks and takes it for so few, or so many. What `minibert bench --kernels` measures
(minibert.engine.timing) is recorded beside the compiled kernels; before that, figures of the machines that the kernels
were written on serve. MINIBERT_SPARSE=always or never overrides all.
"""

from __future__ import annotations

import json
import os
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from minibert.engine.cache import publish, read_entry
from minibert.engine.library import cache_path
from minibert.errors import InputError
from minibert.kernels.isa import TARGETS
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = (8, 16, 32, 64, 128)
#: More tokens than there ever are.
ANY_NUMBER = 1 << 30
DENSITIES = (0.75, 0.5, 0.25, 0.1)
#: A dense copy costs memory: it must be this much faster.
_WORTH = 1.1


class Ratios(NamedTuple):
    """How many times as fast as dense the blocks of a matrix are.

    Attributes:
        ratios: for each density (as DENSITIES) one row, for each number of tokens (as TOKENS) one column.
        dense_gmacs: 10^9 multiply-adds a second of the dense product, by tokens.
        measured: whether on this machine.
    """

    ratios: tuple[tuple[float, ...], ...]
    dense_gmacs: tuple[float, ...] = ()
    measured: bool = False

    def dense_tokens(self, density: float) -> range:
        """Numbers of tokens for which the dense product of a matrix of this density is worth a copy.

        From zero up to some number, or from some number on: an empty range for never.

        Raises:
            InputError: MINIBERT_SPARSE is none of its values.
        """
        mode = os.environ.get("MINIBERT_SPARSE", "auto")
        if mode not in ("auto", "always", "never"):
            raise InputError(f"MINIBERT_SPARSE is {mode!r}: choose auto, always or never")
        if mode != "auto":
            return range(0) if mode == "always" else range(ANY_NUMBER)
        dense = []
        for column in range(len(TOKENS)):
            by_density = [row[column] for row in self.ratios]
            # Rows go from dense to sparse; np.interp wants rising densities.
            ratio = float(np.interp(density, DENSITIES[::-1], by_density[::-1]))
            dense.append(ratio * _WORTH < 1)
        few = len(list(takewhile(bool, dense)))
        many = len(list(takewhile(bool, reversed(dense))))
        if few == len(TOKENS):
            return range(ANY_NUMBER)
        if many > few:
            return range(TOKENS[-many - 1] + 1, ANY_NUMBER)
        return range(TOKENS[few - 1] + 1 if few else 0)


#: Measured on a Zen 4 with AVX-512 VNNI, ...
_USUAL = Ratios(
    (
        (0.64, 1.25, 1.24, 1.23, 1.23),
        (0.98, 1.92, 1.89, 1.89, 1.89),
        (1.90, 3.60, 3.50, 3.40, 3.40),
        (3.80, 7.00, 7.10, 6.90, 7.10),
    )
)
#: ... and on a Granite Rapids with AMX.
_USUAL_OF_TILES = Ratios(
    (
        (0.57, 0.50, 0.53, 0.37, 0.33),
        (0.89, 0.74, 0.77, 0.53, 0.49),
        (1.81, 1.39, 1.37, 0.99, 0.91),
        (4.02, 2.99, 2.46, 1.89, 2.09),
    )
)


def record_path(isa: str) -> Path:
    """The file in which this machine's ratios are recorded: it goes with the compiled kernels."""
    return cache_path(isa).with_suffix(".ratios.json")


def ratios(isa: str) -> Ratios:
    """The recorded ratios of this machine, or the usual ones."""
    try:
        known = json.loads(read_entry(record_path(isa)) or b"")
        rows = np.asarray(known["ratios"], float)
        if rows.shape == (len(DENSITIES), len(TOKENS)) and np.isfinite(rows).all():
            return Ratios(tuple(map(tuple, rows.tolist())), tuple(map(float, known["dense_gmacs"])), True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _USUAL_OF_TILES if TARGETS[isa].whole_tiles else _USUAL


def record(isa: str, found: Ratios) -> None:
    """Record what was measured on this machine; nothing happens where the folder cannot be written."""
    publish(record_path(isa), json.dumps(found._asdict()).encode())
