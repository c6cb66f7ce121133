"""Removing attention heads and FFN neurons, and fitting what stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from minibert.errors import UnsupportedError

from ..calibration import Tokens
from ..network import Network
from ..progress import Progress
from .blocks import Budget
from .encoder import float_linear
from .fit import fit
from .moments import Moments, gather_moments
from .request import Request
from .shrink import keep_heads, keep_neurons
from .structured import allocate, ffn_removal, head_removal, survivors


def prune_structures(
    network: Network,
    requests: Sequence[Request],
    tokens: Tokens,
    budget: Budget,
    progress: Progress,
    *,
    calibrated: bool,
) -> dict[str, float]:
    """Takes out heads, neurons, or both.

    Args:
        network: its layers become smaller.
        requests: of the kinds "heads" and "ffn".
        tokens: calibration texts.
        budget: whether every layer loses the same part, or all together.
        progress: called with the stages "calibrating" and "fitting", or "measuring".
        calibrated: choose by what the answers lose, and fit what stays; False chooses by magnitude and fits nothing.

    Returns:
        By matrix that ends a half of a layer, the relative error of the sum that enters the LayerNorm.

    Raises:
        UnsupportedError: layers share their weights, and would not after heads of one were gone.
    """
    if any(name.startswith("layers.") for name in network.aliases):
        asked = " and ".join(request.text for request in requests)
        raise UnsupportedError(f"prune {asked}: layers of this model share weights; prune blocks or layers")
    dense = replace(network, linears=dict(network.linears))
    endings = {"heads": "attention.output", "ffn": "ffn.down"}
    wanted = tuple(endings[request.kind] for request in requests)
    moments: dict[str, Moments] = {}
    if calibrated:

        def whole(name: str) -> tuple[int, int] | None:
            out, inputs = float_linear(network, name).weight.shape
            return (out, inputs) if name.endswith(wanted) else None

        moments = gather_moments(network, tokens, whole, progress)
    for request in requests:
        layers = network.architecture.layers
        find = head_removal if request.kind == "heads" else ffn_removal
        removals = [
            find(network, number, moments.get(f"layers.{number}.{endings[request.kind]}"))
            for number in range(len(layers))
        ]
        totals = [layer.num_heads if request.kind == "heads" else layer.ffn_size for layer in layers]
        keep = keep_heads if request.kind == "heads" else keep_neurons
        for number, steps in enumerate(allocate(removals, totals, request.amount, budget)):
            if steps:
                keep(network, number, survivors(removals[number], totals[number], steps))
    halves = [
        f"layers.{number}.{each}" for number in range(len(network.architecture.layers)) for each in endings.values()
    ]
    return fit(dense, network, halves, tokens, progress, change=calibrated)
