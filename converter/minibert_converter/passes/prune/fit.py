"""After weights are gone: what stays is fitted to what the dense network returned.

One matrix after another, first to last, each on the inputs that the fitted ones before it give, towards what the
dense matrix returned at that place (Kwon et al., arXiv 2204.09656, tune one number a head or neuron like this). All
weights that are left are free, which is the update of Optimal Brain Surgeon in its limit, not for the last removal but
for all of them together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from minibert_converter.calibration.regression import Regression
from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.matrices import float_linear
from minibert_converter.network import Float32Array, Network
from minibert_converter.progress import OnProgress


def fit(
    dense: Network,
    network: Network,
    names: Collection[str],
    tokens: Tokens,
    progress: OnProgress,
    *,
    change: bool = True,
) -> dict[str, float]:
    """Fits what is left of matrices; zeros stay zeros.

    Where the residual sum follows, that sum is what is fitted, so that a layer also takes back what earlier ones left
    wrong. A matrix that several layers share cannot follow them all: it is fitted ahead, to all of its dense inputs.

    Args:
        dense: the network before anything was removed.
        network: the network without it; its entries of these names are replaced.
        names: of matrices with as many outputs as in the dense network.
        tokens: what both read.
        progress: called with the stage "fitting" (or "measuring") and counts of matrices.
        change: False leaves the matrices as they are, and only measures.

    Returns:
        By name, the relative error that is left in what a matrix returns, or in the sum that follows, on the
        calibration texts: root of the mean square error over the standard deviation.
    """
    shared = set(network.aliases.values()).intersection(names) if change else set()
    if shared:
        _fit_shared(dense, network, shared, tokens)
    truth, stream = Stream(dense, tokens), Stream(network, tokens)
    stage, errors = "fitting" if change else "measuring", dict[str, float]()
    while (name := stream.advance()) is not None:
        truth.advance()
        if name not in names:
            continue
        progress(stage, len(errors), len(names))
        linear, wanted = float_linear(network, name), _wanted(truth, stream)
        if change and name not in shared:
            regression = Regression()
            for x, y in zip(stream.inputs(), wanted, strict=True):
                regression.add(x, y)
            weight = regression.fit(linear.weight, linear.weight != 0)
            linear = replace(linear, weight=weight, bias=regression.bias(weight))
            network.linears[name] = linear
        given = [x @ linear.weight.T + linear.bias for x in stream.inputs()]
        rows, left = np.concatenate(wanted), np.concatenate(given) - np.concatenate(wanted)
        errors[name] = float(np.linalg.norm(left) / max(np.linalg.norm(rows - rows.mean(axis=0)), 1e-30))
    progress(stage, len(names), len(names))
    return errors


def _fit_shared(dense: Network, network: Network, names: Collection[str], tokens: Tokens) -> None:
    """Fits matrices that several layers share, on what they read in the dense network."""
    regressions = {name: Regression() for name in names}
    stream = Stream(dense, tokens)
    while (name := stream.advance()) is not None:
        name = network.aliases.get(name, name)
        if name in names:
            for x, y in zip(stream.inputs(), stream.outputs(), strict=True):
                regressions[name].add(x, y)
    for name, regression in regressions.items():
        linear = float_linear(network, name)
        weight = regression.fit(linear.weight, linear.weight != 0)
        network.linears[name] = replace(linear, weight=weight, bias=regression.bias(weight))


def _wanted(truth: Stream, stream: Stream) -> list[Float32Array]:
    """What the matrix at hand should return: float32 [rows, out], chunk after chunk."""
    wanted = list(truth.outputs())
    for rows, old, new in zip(wanted, truth.residuals(), stream.residuals(), strict=False):
        rows += (old - new)[:, : rows.shape[1]]
    return wanted
