"""Pruning blocks of the encoder's weights."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np

from minibert_converter.calibration.regression import Regression
from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.matrices import encoder_names, float_linear, real_rows_and_columns
from minibert_converter.network import Float32Array, Network
from minibert_converter.passes.prune.blocks import Budget, cut, select, spread
from minibert_converter.passes.prune.fit import fit
from minibert_converter.passes.prune.moments import gather_moments
from minibert_converter.passes.prune.request import Request
from minibert_converter.passes.prune.scores import magnitude_scores, second_order_scores
from minibert_converter.progress import OnProgress

#: Texts on which the error that was added is measured, where nothing is fitted.
_MEASURED_TEXTS = 64


def prune_blocks(
    network: Network,
    request: Request,
    tokens: Tokens,
    budget: Budget,
    progress: OnProgress,
    memory: MutableMapping[str, Mapping[str, Any]] | None = None,
    *,
    calibrated: bool,
) -> dict[str, float]:
    """Sets blocks of weights to zero, in one shot, and fits what is left.

    Args:
        network: its encoder's matrices get new entries.
        request: the block's sides and the part of the blocks to remove.
        tokens: calibration texts.
        budget: whether every matrix loses that part, or all together.
        progress: called with the stages "calibrating", "scoring blocks" and "fitting", or "measuring".
        memory: keeps scores, which do not depend on the share; of one set of texts.
        calibrated: choose by what the answers lose, and fit what stays; False chooses by magnitude and fits nothing.

    Returns:
        By matrix, the relative error of what it returns, errors of the matrices before it included (see `fit`).
    """
    sides = request.rows, request.columns
    dense = network.copy()
    weights = {name: float_linear(network, name).weight for name in encoder_names(network)}
    real = {}
    for name in weights:
        rows, columns = real_rows_and_columns(network.architecture, name)
        real[name] = cut(rows[:, None] & columns, *sides).any(axis=(2, 3))
    if calibrated:
        key = _key(weights, sides)
        known = None if memory is None else memory.get(key)
        scores = _second_order(network, weights, sides, tokens, progress) if known is None else dict(known)
        if memory is not None and known is None:
            memory[key] = scores
    else:
        scores = {name: magnitude_scores(weight, *sides) for name, weight in weights.items()}
        if budget == "global":  # magnitudes of different matrices compare only after each is brought to one mean
            scores = {name: values / max(values[real[name]].mean(), 1e-30) for name, values in scores.items()}
    for name, kept in select(scores, real, request.amount, budget).items():
        weight = np.where(spread(kept, *sides, weights[name].shape), weights[name], np.float32(0))
        network.linears[name] = replace(float_linear(network, name), weight=weight)
    seen = tokens if calibrated else tokens.sample(_MEASURED_TEXTS)
    return fit(dense, network, weights, seen, progress, change=calibrated)


def _key(weights: Mapping[str, Float32Array], sides: tuple[int, int]) -> str:
    """Names the scores of these matrices' blocks."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in weights.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weight).data)
    return f"blocks-{sides[0]}x{sides[1]}-{digest.hexdigest()}"


def _second_order(
    network: Network, weights: dict[str, Float32Array], sides: tuple[int, int], tokens: Tokens, progress: OnProgress
) -> dict[str, np.ndarray]:
    """Scores by matrix, float64 [blocks down, blocks across], of derivatives and inputs in the dense network."""
    curvature = gather_moments(network, tokens, lambda _: (sides[0], 1), progress)
    inputs, scores = defaultdict[str, Regression](Regression), dict[str, np.ndarray]()
    shared = set(network.aliases.values())

    def score(name: str) -> None:
        # Popped, so that moments are let go as they are used up.
        moments, metric = inputs.pop(name).moments, curvature.pop(name).outputs
        scores[name] = second_order_scores(weights[name], moments, metric, sides[1])

    stream = Stream(network, tokens)
    while (name := stream.advance()) is not None:
        name = network.aliases.get(name, name)
        if name not in weights:
            continue
        progress("scoring blocks", len(scores), len(weights))
        for x in stream.inputs():
            inputs[name].add(x)
        if name not in shared:
            score(name)
    for name in list(inputs):
        score(name)
    progress("scoring blocks", len(weights), len(weights))
    return {name: scores[name] for name in weights}
