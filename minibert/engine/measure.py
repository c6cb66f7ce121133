"""Timing single matrix products on this machine, with the engine's own kernels."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from minibert.engine.batch import PackedBatch
from minibert.engine.executor import Executor
from minibert.engine.library import Kernels
from minibert.engine.memory import aligned
from minibert.format.constants import padded
from minibert.format.parts import Linear
from minibert.format.schema import Architecture, Config, Task, TextConfig
from minibert.plan import Buffer, Codes, Matmul, Plan


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
        self.steps = rounds * copies
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
