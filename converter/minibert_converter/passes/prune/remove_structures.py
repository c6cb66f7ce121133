"""Removing attention heads and FFN neurons, and fitting what stays."""

from __future__ import annotations

from collections.abc import Sequence

from minibert.errors import UnsupportedError
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.matrices import float_linear
from minibert_converter.network import Network
from minibert_converter.passes.prune.blocks import Budget
from minibert_converter.passes.prune.fit import fit
from minibert_converter.passes.prune.moments import Moments, gather_moments
from minibert_converter.passes.prune.request import Request
from minibert_converter.passes.prune.shrink import keep_heads, keep_neurons
from minibert_converter.passes.prune.structured import allocate, ffn_removal, head_removal, survivors
from minibert_converter.progress import OnProgress


def prune_structures(
    network: Network,
    requests: Sequence[Request],
    tokens: Tokens,
    budget: Budget,
    progress: OnProgress,
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
    dense = network.copy()
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
