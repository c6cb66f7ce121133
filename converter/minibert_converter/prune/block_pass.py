"""Pruning blocks of the encoder's weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..network import Network
from ..progress import Progress
from .blocks import Budget, cut, select, spread
from .encoder import encoder_names, float_linear, real_rows_and_columns
from .moments import Tokens, gather_moments
from .request import Request
from .scores import calibrated_scores, magnitude_scores


def prune_blocks(network: Network, request: Request, tokens: Tokens | None, budget: Budget, progress: Progress) -> None:
    """Sets blocks of weights to zero, in one shot; what is left keeps its values.

    Args:
        network: its encoder's matrices get new entries.
        request: the block's sides and the part of the blocks to remove.
        tokens: calibration texts; None scores by magnitude.
        budget: whether every matrix loses that part, or all together.
        progress: called with the stages "calibrating" and "scoring blocks".
    """
    sides = request.rows, request.columns
    weights = {name: float_linear(network, name).weight for name in encoder_names(network)}
    real = {}
    for name in weights:
        rows, columns = real_rows_and_columns(network.architecture, name)
        real[name] = cut(rows[:, None] & columns, *sides).any(axis=(2, 3))
    if tokens is None:
        scores = {name: magnitude_scores(weight, *sides) for name, weight in weights.items()}
        if budget == "global":  # magnitudes of different matrices compare only after each is brought to one mean
            scores = {name: values / max(values[real[name]].mean(), 1e-30) for name, values in scores.items()}
    else:
        moments = gather_moments(network, tokens, lambda name: (sides[0], weights[name].shape[1]), progress)
        scores = {}
        for done, (name, weight) in enumerate(weights.items()):
            progress("scoring blocks", done, len(weights))
            # Popped, so that moments are let go as they are used up.
            one = moments.pop(name)
            scores[name] = calibrated_scores(weight, one.inputs[0], one.outputs, sides[1])
        progress("scoring blocks", len(weights), len(weights))
    for name, kept in select(scores, real, request.amount, budget).items():
        weight = np.where(spread(kept, *sides, weights[name].shape), weights[name], np.float32(0))
        network.linears[name] = replace(float_linear(network, name), weight=weight)
