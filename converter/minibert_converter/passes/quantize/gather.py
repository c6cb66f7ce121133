"""Running texts through the float32 network to see what enters each matrix."""

from __future__ import annotations

import zlib

from minibert.reference import Reference
from minibert_converter.calibration.outputs import calibrate
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.export import export
from minibert_converter.network import Float32Array, LinearWeights, Network, TiedLinear
from minibert_converter.passes.quantize.statistics import InputStatistics
from minibert_converter.progress import OnProgress, no_progress


def gather_statistics(
    network: Network, tokens: Tokens, progress: OnProgress = no_progress
) -> dict[str, InputStatistics]:
    """Statistics of the inputs of every float32 matrix, over all tokens of the texts.

    Args:
        network: the model; its matrices are float32.
        tokens: the texts.
        progress: called with the stage "calibrating" and counts of texts.

    Raises:
        InputError: the texts drive the network to values that are not finite.
    """
    statistics = {
        name: InputStatistics(seed=zlib.crc32(name.encode()))
        for name, linear in network.linears.items()
        # What the first half of a low-rank part reads is what its matrix reads.
        if isinstance(linear, LinearWeights | TiedLinear) and not name.endswith(".low_rank.down")
    }

    def hook(name: str, rows: Float32Array) -> None:
        name = network.aliases.get(name, name)
        if name in statistics:
            statistics[name].add(rows)

    reference = Reference(*export(network), every_token=True)
    calibrate(tokens, lambda ids, types: reference.forward(ids, types, hook), progress)
    return statistics
