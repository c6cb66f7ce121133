"""Taking back what quantized layers do to the rows of all texts alike.

Each matrix's bias makes up for its own mean error (`matrix`). But errors pass through what isn't linear, and what they
add up to at the end has a mean again. The bias of the last layer's LayerNorm takes that back (bias correction by
comparing outputs, arXiv 1906.04721), at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minibert.plan import Exit, Matmul, PruneTokens, Step, build_plan
from minibert.reference.model import Run

from ..calibration import Tokens
from ..export import export
from ..network import Float32Array, Network

#: Texts that are run, twice, and the rows from which on their mean says something.
_TEXTS = 256
_LEAST_ROWS = 64


class MeanCorrection:
    """Remembers the mean of the last rows of a network, so that it can be restored after the network was quantized.

    Args:
        network: as it should answer.
        tokens: texts; some of them are run.
    """

    def __init__(self, network: Network, tokens: Tokens) -> None:
        self._tokens = tokens.sample(_TEXTS)
        self._mean = _mean(network, self._tokens)

    def restore(self, network: Network) -> None:
        """Shifts the last norm so that the rows it returns have their mean back, where there is such a norm."""
        end = _ending(network, build_plan(export(network)[0]).steps)
        if end is not None and self._mean is not None and (mean := _mean(network, self._tokens)) is not None:
            bias = network.norms[end.norm].bias
            network.norms[end.norm] = replace(network.norms[end.norm], bias=bias + (self._mean - mean)[: bias.size])


class _Ending(NamedTuple):
    """How the layers end: the steps up to there, the last of which leaves rows that a norm returns."""

    steps: Sequence[Step]
    norm: str
    rows: str


def _ending(network: Network, steps: Sequence[Step]) -> _Ending | None:
    """None where the last norm ends other layers as well, its rows are not kept, or some tokens never get there."""
    if any(isinstance(step, Exit | PruneTokens) for step in steps):
        return None
    layers = [
        (i, step) for i, step in enumerate(steps) if isinstance(step, Matmul) and step.linear.startswith("layers.")
    ]
    number, last = layers[-1]
    if last.norm is None or last.out is None or last.norm in (*network.aliases, *network.aliases.values()):
        return None
    return _Ending(steps[: number + 1], last.norm, last.out.name)


def _mean(network: Network, tokens: Tokens) -> Float32Array | None:
    """Mean of the rows that the last norm returns; None where there is no such norm, or rows are few."""
    config, tensors = export(network)
    end = _ending(network, build_plan(config).steps)
    if end is None:
        return None
    parts = []
    for ids, types in tokens.chunks():
        flat, kinds = (np.concatenate([np.asarray(one, np.int32) for one in rows]) for rows in (ids, types))
        run = Run(config, tensors, flat, kinds, np.cumsum([0, *map(len, ids)]), None, None)
        for step in end.steps:
            run.execute(step)
        parts.append(run.rows[end.rows])
    rows = np.concatenate(parts)
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32) if len(rows) >= _LEAST_ROWS else None
