"""Blocks or all of a matrix: which product is faster, by density and number of tokens, as measured on this machine.

A block-sparse matrix nearly always runs by its blocks. Where few tokens meet a rather dense matrix the dense product
can win, and so it can for many tokens on a CPU that multiplies whole tiles; then the engine keeps a dense copy of that
matrix beside its blocks and takes it for so few, or so many. What was measured (`minibert bench --kernels`,
`minibert warmup`) is recorded beside the compiled kernels; before that, figures of the machines that the kernels were
written on serve. MINIBERT_SPARSE=always or never overrides all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minibert.engine.library import Kernels, cache_path, publish
from minibert.engine.memory import aligned
from minibert.errors import InputError
from minibert.format.layout import pack_blocks, pack_int8
from minibert.format.parts import Linear

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = (8, 16, 32, 64, 128)
#: More tokens than there ever are.
ANY_NUMBER = 1 << 30
DENSITIES = (0.75, 0.5, 0.25, 0.1)
#: A dense copy costs memory: it must be this much faster.
_WORTH = 1.1
#: Inputs and outputs of the matrices that are measured.
_SHAPE = (768, 768)
#: So many of them are as large as a small model: 9 MB.
_COPIES = 16
_TURNS = 9


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
        known = json.loads(record_path(isa).read_text(encoding="utf-8"))
        rows = np.asarray(known["ratios"], float)
        if rows.shape == (len(DENSITIES), len(TOKENS)) and np.isfinite(rows).all():
            return Ratios(tuple(map(tuple, rows.tolist())), tuple(map(float, known["dense_gmacs"])), True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _USUAL_OF_TILES if isa == "amx" else _USUAL


def measure_products(
    kernels: Kernels, inputs: int, outputs: int, tokens: Sequence[int], densities: Sequence[float], copies: int = 1
) -> tuple[list[float], list[list[float]]]:
    """Time the products of one shape of matrix, dense and with some of its blocks, in turns.

    Args:
        kernels: loaded kernels.
        inputs: columns of the matrix.
        outputs: rows of the matrix.
        tokens: numbers of tokens that go through at once.
        densities: shares of 4x4 blocks that are left.
        copies: of each matrix, taken in turns: see LinearTimer.

    Returns:
        10^9 multiply-adds a second of the dense product by tokens; and how many times as fast as dense the blocks are,
        a row for each density, a column for each number of tokens. Sums only, on one thread, the best of several turns.
    """
    from minibert.engine.measure import LinearTimer

    random = np.random.default_rng(0)
    full = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    table: list[list[float]] = [[] for _ in densities]
    gmacs: list[float] = []
    for count in tokens:
        timers = [LinearTimer(Linear("int8", inputs, outputs), dense_tensors(full), kernels, count, copies=copies)]
        for density in densities:
            kept = random.random((outputs // 4, inputs // 4)) < density
            tensors = block_tensors(full * np.kron(kept, np.ones((4, 4), np.int8)))
            blocks = Linear("int8-4x4", inputs, outputs, blocks=len(tensors["w.index"]))
            timers.append(LinearTimer(blocks, tensors, kernels, count, copies=copies))
        times = np.array([[timer.run() for timer in timers] for _ in range(_TURNS)]).min(axis=0)
        gmacs.append(round(count * inputs * outputs / float(times[0]) / 1e9, 1))
        for row, seconds in zip(table, times[1:], strict=True):
            row.append(round(float(times[0] / seconds), 3))
    return gmacs, table


def measure(kernels: Kernels) -> Ratios:
    """Measure the ratios of this machine and record them."""
    gmacs, table = measure_products(kernels, *_SHAPE, TOKENS, DENSITIES, _COPIES)
    found = Ratios(tuple(map(tuple, table)), tuple(gmacs), True)
    publish(record_path(kernels.isa), json.dumps(found._asdict()).encode())
    return found


def dense_tensors(weight: np.ndarray) -> dict[str, np.ndarray]:
    """Tensors "w.*" of a dense int8 linear with these weights [out, in], scale 1 and no bias."""
    return {"w.weight": aligned(pack_int8(weight)), **_common(weight)}


def block_tensors(weight: np.ndarray) -> dict[str, np.ndarray]:
    """The same for a block-sparse linear."""
    blocks, index, starts = pack_blocks(weight)
    return {"w.blocks": aligned(blocks), "w.index": index, "w.starts": starts, **_common(weight)}


def _common(weight: np.ndarray) -> dict[str, np.ndarray]:
    out = len(weight)
    return {
        "w.scale": np.ones(out, np.float32),
        "w.weight_sum": weight.sum(axis=1, dtype=np.int32),
        "w.bias": np.zeros(out, np.float32),
    }
