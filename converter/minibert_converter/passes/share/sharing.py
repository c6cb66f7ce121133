"""The pass that lets layers share their matrices: which, what each becomes, and what that loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from minibert.errors import InputError
from minibert.format.constants import low_rank, padded
from minibert.format.schema import Layer
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.matrices import PARTS, widened
from minibert_converter.network import LinearWeights, Network, TiedLinear
from minibert_converter.passes.base import Outcome, rounded
from minibert_converter.passes.quantize.gather import gather_statistics
from minibert_converter.passes.quantize.statistics import InputStatistics
from minibert_converter.passes.share.fit import low_rank_difference, relative_error, shared_weight
from minibert_converter.passes.share.request import parse_groups
from minibert_converter.progress import OnProgress, no_progress


def share(
    network: Network,
    request: str,
    rank: int,
    *,
    texts: Sequence[str] | None = None,
    progress: OnProgress | None = None,
) -> Outcome:
    """Lets groups of layers use one set of matrices; biases and LayerNorms stay each layer's own.

    Each shared matrix is fitted by least squares to what the group's matrices return on calibration texts. With a
    `rank`, each layer keeps a low-rank difference beside it: y = W x + b + A (B x), computed as written.

    Args:
        network: `linears` change; its matrices are float32.
        request: which layers; see `parse_groups`.
        rank: of the differences, for every matrix that is large enough and not gated; 0 for none.
        texts: what the model will read, or texts like it; None takes the sentences that ship with the converter.
        progress: called with the stage "sharing".

    Returns:
        Errors by matrix: of what it returns on calibration texts, relative root mean square; and which layers share.

    Raises:
        InputError: the request makes no sense, layers differ in size, share already, or aren't float32.
    """
    progress = progress or no_progress
    layers = network.architecture.layers
    groups, pairs = parse_groups(request, len(layers))
    _check(network, groups)
    statistics = gather_statistics(network, tokenize(network, texts))
    moments = {name: one.moments for name, one in statistics.items() if name.startswith("layers.")}
    if pairs:
        groups = _similar(network, moments, pairs)
    errors: dict[str, float] = {}
    total = len(groups) * len(PARTS)
    for number, group in enumerate(groups):
        for place, part in enumerate(PARTS):
            progress("sharing", number * len(PARTS) + place, total)
            names = [f"layers.{layer}.{part}" for layer in group]
            gated = part == "ffn.up" and network.architecture.gated
            errors |= _merge(network, names, statistics, moments, 0 if gated else rank)
    progress("sharing", total, total)
    details = {"groups": [list(group) for group in groups], "rank": rank, "errors": rounded(errors, 3)}
    return Outcome(errors, details=details)


def _check(network: Network, groups: Sequence[Sequence[int]]) -> None:
    layers = network.architecture.layers
    aliases = (name for name, target in network.aliases.items() if target in network.linears)
    if any(name.startswith("layers.") for name in aliases) or any(
        isinstance(linear, TiedLinear) for linear in network.linears.values()
    ):
        raise InputError("layers of this model share their weights already")
    for group in groups:
        if len({(layers[number].num_heads, layers[number].ffn_size) for number in group}) > 1:
            raise InputError(f"layers {', '.join(map(str, group))} differ in size: they cannot share their matrices")
    for name, linear in network.linears.items():
        if name.startswith("layers.") and not isinstance(linear, LinearWeights):
            raise InputError(f"{name} is quantized: share layers before that")


def _merge(
    network: Network,
    names: Sequence[str],
    statistics: Mapping[str, InputStatistics],
    moments: Mapping[str, np.ndarray],
    rank: int,
) -> dict[str, float]:
    """Makes matrices one, which the first of them holds; returns each one's error."""
    linears = {name: linear for name in names if isinstance(linear := network.linears[name], LinearWeights)}
    weight = shared_weight([linear.weight for linear in linears.values()], [moments[name] for name in names])
    rank = 0 if 2 * rank > min(weight.shape) else rank
    errors = {}
    for name, linear in linears.items():
        difference = linear.weight - weight
        if rank:
            up, down = low_rank_difference(difference, moments[name], rank)
            first, second = low_rank(name)
            network.linears[first] = LinearWeights(down, np.zeros(rank, np.float32))
            network.linears[second] = LinearWeights(widened(up, padded(rank)), np.zeros(len(up), np.float32))
            difference = difference - up @ down
        # The mean of what is lost is the bias's to make up for.
        bias = (linear.bias + difference @ statistics[name].mean).astype(np.float32)
        network.linears[name] = LinearWeights(weight, bias) if name == names[0] else TiedLinear(names[0], bias)
        errors[name] = relative_error(difference, linear.weight, moments[name])
    return errors


def _similar(network: Network, moments: Mapping[str, np.ndarray], pairs: int) -> list[tuple[int, ...]]:
    """So many pairs of neighbouring layers, no layer in two, that lose least in all by having the same matrices."""
    losses = {}
    for first in _alike(network.architecture.layers):
        losses[first] = 0.0
        for part in PARTS:
            names = [f"layers.{number}.{part}" for number in (first, first + 1)]
            weights = [linear.weight for name in names if isinstance(linear := network.linears[name], LinearWeights)]
            shared = shared_weight(weights, [moments[name] for name in names])
            for name, weight in zip(names, weights, strict=True):
                losses[first] += relative_error(weight - shared, weight, moments[name]) ** 2
    if (most := most_pairs(network.architecture.layers)) < pairs:
        raise InputError(f"only {most} pairs of neighbouring layers can share their matrices, not {pairs}")
    return [(first, first + 1) for first in least_pairs(losses, pairs)]


def least_pairs(losses: Mapping[int, float], pairs: int) -> tuple[int, ...]:
    """The first layers of so many pairs, no layer in two, that lose least in all. There must be so many.

    Layer by layer, what each number of pairs among the layers so far loses at least: the last pair is one of them, or
    it isn't.
    """
    before: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]  # without the last layer ...
    best = before  # ... and with it
    for first in range(max(losses, default=-1) + 1):
        longer = [*best]
        for pairs_before, (loss, firsts) in enumerate(before if first in losses else ()):
            candidate = (loss + losses[first], (*firsts, first))
            if pairs_before + 1 == len(longer):
                longer.append(candidate)
            else:
                longer[pairs_before + 1] = min(longer[pairs_before + 1], candidate)
        before, best = best, longer
    return best[pairs][1]


def most_pairs(layers: Sequence[Layer]) -> int:
    """How many pairs of neighbouring layers, no layer in two, have matrices of the same shapes."""
    count, free = 0, 0
    for first in _alike(layers):
        if first >= free:
            count, free = count + 1, first + 2
    return count


def _alike(layers: Sequence[Layer]) -> list[int]:
    """The layers whose matrices have the shapes of the next one's."""
    shapes = [replace(layer, window=0, rotary_base=0.0, rotary=0) for layer in layers]
    return [first for first in range(len(shapes) - 1) if shapes[first] == shapes[first + 1]]
