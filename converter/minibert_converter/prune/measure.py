"""What pruning added to the outputs of matrices, measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from minibert.reference import Reference

from ..export import export
from ..network import Float32Array, Network
from .encoder import float_linear
from .moments import Tokens


def output_errors(before: Network, after: Network, names: Iterable[str], tokens: Tokens) -> dict[str, float]:
    """Relative error of what matrices return for the inputs that they had before.

    Args:
        before: the network that runs, float32.
        after: a network whose matrices of these names have the same shapes.
        names: of matrices of the encoder.
        tokens: what is run.

    Returns:
        By name, the root of the mean square error over the standard deviation.
    """
    names = set(names)
    if not names:
        return {}
    lost: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(()))
    rows: dict[str, int] = defaultdict(int)

    def hook(name: str, x: Float32Array) -> None:
        name = before.aliases.get(name, name)
        if name in names:
            old, new = float_linear(before, name), float_linear(after, name)
            wanted = x @ old.weight.T
            lost[name] += float(np.square(x @ (old.weight - new.weight).T + (old.bias - new.bias)).sum())
            squares[name] += float(np.square(wanted).sum())
            totals[name] = totals[name] + wanted.sum(axis=0, dtype=np.float64)
            rows[name] += len(x)

    reference = Reference(*export(before), every_token=True)
    for ids, types in tokens.chunks():
        reference.forward(ids, types, hook)
    spread = {name: squares[name] - float(np.square(totals[name]).sum()) / rows[name] for name in names}
    return {name: float(np.sqrt(lost[name] / max(spread[name], 1e-30))) for name in names}
