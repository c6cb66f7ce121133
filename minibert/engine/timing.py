"""Timing single matrix products on this machine, with the engine's own kernels, dense and by blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from minibert.engine.batch import PackedBatch
from minibert.engine.crossover import DENSITIES, TOKENS, Ratios, record
from minibert.engine.executor import Executor
from minibert.engine.library import Kernels
from minibert.engine.memory import aligned
from minibert.format.constants import padded
from minibert.format.layout import pack_blocks, pack_int8
from minibert.format.parts import Linear
from minibert.format.schema import Architecture, Config, Task, TextConfig
from minibert.plan import Buffer, Codes, Matmul, Plan

#: Inputs and outputs of the matrices that are measured.
_SHAPE = (768, 768)
#: So many of them are as large as a small model: 9 MB.
_COPIES = 16
_TURNS = 9


class LinearTimer:
    """One int8 linear (dense or block-sparse) by itself, ready to be timed on some number of tokens.

    Args:
        linear: its description.
        tensors: its tensors, named "w.*".
        kernels: loaded kernels.
        tokens: rows that go through it at once.
        epilogue: whether the sums become float32 rows, or are only added up.
        copies: of the tensors in memory, multiplied in turns. A model's weights, all in all, are larger than the
            caches that a core has for itself, and so are enough copies; one is only as far away as it is large.
    """

    def __init__(
        self,
        linear: Linear,
        tensors: Mapping[str, np.ndarray],
        kernels: Kernels,
        tokens: int,
        *,
        epilogue: bool = False,
        copies: int = 1,
    ) -> None:
        architecture = Architecture("bert", linear.in_features, 16, 1, tokens, 0, 1e-12, "gelu", (), "none")
        names = ["w", *(f"w{number}" for number in range(1, copies))]
        copied = {
            f"{name}{key.removeprefix('w')}": tensor if name == "w" else aligned(tensor)
            for name in names
            for key, tensor in tensors.items()
        }
        config = Config(architecture, Task("sentence-embedding"), TextConfig(tokens), dict.fromkeys(names, linear), {})
        source = Codes("codes", "tokens", linear.in_features, "w")
        out = Buffer("out", "tokens", padded(linear.out_features))
        rounds = max(1, round(2e8 / (tokens * linear.in_features * linear.out_features * copies)))
        self.steps: int = rounds * copies
        step = Matmul("w", source, "none", None, None, out if epilogue else None, None)
        plan = Plan(tuple(step._replace(linear=name) for name in names) * rounds, out, 1)
        self._executor = Executor(plan, config, copied, kernels, 1, dense_tokens=lambda density: range(0))
        zeros = np.zeros(tokens, np.int32)
        self._batch = PackedBatch(zeros, zeros, np.array([0, tokens], np.int64))

    def run(self) -> float:
        """Processor seconds of one product."""
        start = time.thread_time()
        self._executor.run(self._batch)
        return (time.thread_time() - start) / self.steps


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
    record(kernels.isa, found)
    return found


def dense_tensors(weight: np.ndarray) -> dict[str, np.ndarray]:
    """Tensors "w.*" of a dense int8 linear with these weights [out, in], scale 1 and no bias."""
    return {"w.weight": aligned(pack_int8(weight)), **_common(weight)}


def block_tensors(weight: np.ndarray) -> dict[str, np.ndarray]:
    """The same for a block-sparse linear."""
    blocks, indices, indptr = pack_blocks(weight)
    return {"w.blocks": aligned(blocks), "w.index": indices, "w.starts": indptr, **_common(weight)}


def _common(weight: np.ndarray) -> dict[str, np.ndarray]:
    out = len(weight)
    return {
        "w.scale": np.ones(out, np.float32),
        "w.weight_sum": weight.sum(axis=1, dtype=np.int32),
        "w.bias": np.zeros(out, np.float32),
    }
