"""After heads and neurons are gone: the matrices that read the rest are fitted to what the dense network returned.

Kwon et al. 2022 (arXiv 2204.09656) tune one number for each head and neuron by least squares. Here every weight of
the two matrices that end a layer's halves is free, which costs nothing at run time and is no harder: one regression
with as many unknowns as inputs, for all outputs at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..network import Float32Array, Network
from ..progress import Progress
from .encoder import float_linear
from .forward import Rows
from .moments import Tokens
from .structured import DAMPING


def refit(
    dense: Network, network: Network, tokens: Tokens, progress: Progress, *, fit: bool = True
) -> dict[str, float]:
    """Fits `attention.output` and `ffn.down` of each layer, first to last, each on the fitted layers before it.

    What is fitted is the sum that enters the LayerNorm, so that a layer also takes back what earlier ones left wrong.

    Args:
        dense: the network before heads and neurons were removed.
        network: the network without them; its entries are replaced.
        tokens: what both read.
        progress: called with the stage "fitting" (or "measuring") and counts of halves of layers.
        fit: False leaves the matrices as they are, and only measures.

    Returns:
        By matrix, the relative error of that sum that is left on the calibration tokens: root of the mean square error
        over the standard deviation.
    """
    truth, rows = Rows(dense, tokens), Rows(network, tokens)
    errors: dict[str, float] = {}
    stage = "fitting" if fit else "measuring"
    halves = [(n, half) for n in range(len(network.architecture.layers)) for half in ("attention", "ffn")]
    for done, (number, half) in enumerate(halves):
        progress(stage, done, len(halves))
        wanted_input = truth.context(dense, number) if half == "attention" else truth.inner(dense, number)
        x = rows.context(network, number) if half == "attention" else rows.inner(network, number)
        wanted = truth.hidden + truth.sum(dense, number, half, wanted_input)
        name = f"layers.{number}.{half}.{'output' if half == 'attention' else 'down'}"
        linear = float_linear(network, name)
        missing = (wanted - rows.hidden - rows.sum(network, number, half, x))[:, : len(linear.weight)]
        if fit:
            change, offset = regress(x, missing)
            network.linears[name] = replace(linear, weight=linear.weight + change, bias=linear.bias + offset)
        truth.add(dense, number, half, wanted_input)
        left = wanted - rows.hidden - rows.sum(network, number, half, x)
        errors[name] = float(np.linalg.norm(left) / max(np.linalg.norm(wanted - wanted.mean(axis=0)), 1e-30))
        rows.add(network, number, half, x)
    progress(stage, len(halves), len(halves))
    return errors


def regress(x: Float32Array, y: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Ridge regression y ~ W x + b; with few rows of x it keeps W small.

    Args:
        x: float32 [rows, in].
        y: float32 [rows, out].

    Returns:
        W float32 [out, in] and b float32 [out]. Inputs that never change get no weight.
    """
    x_mean, y_mean = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    centred = (x - x_mean).astype(np.float32)
    moments = (centred.T @ centred).astype(np.float64) / len(x)
    products = ((y - y_mean).astype(np.float32).T @ centred).astype(np.float64) / len(x)
    damping = DAMPING * np.diag(moments).mean() or 1.0
    weight = np.linalg.solve(moments + damping * np.eye(len(moments)), products.T).T
    return weight.astype(np.float32), (y_mean - weight @ x_mean).astype(np.float32)
