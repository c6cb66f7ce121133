"""Structured pruning: which attention heads and FFN neurons the model misses least, in what order, in which layers.

Masks are chosen with a second-order estimate of the loss on calibration texts, over all layers at once, and what
stays is then fitted to what the dense matrices returned (`fit`): the plan of Kwon et al. 2022 (arXiv 2204.09656),
which needs no training. The estimate knows of that fit: it is the loss that remains after the best linear
compensation, as in Optimal Brain Surgeon, for whole columns at a time (ZipLM, arXiv 2302.04089).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minibert.format.constants import LANES, padded
from minibert_converter.calibration.regression import damping_of
from minibert_converter.matrices import float_linear
from minibert_converter.network import Float32Array, Network
from minibert_converter.passes.prune.blocks import LEAST_OF_SHARE, Budget
from minibert_converter.passes.prune.moments import Moments


@dataclass(frozen=True)
class Removal:
    """What could be removed of one layer, in order.

    Attributes:
        groups: groups of columns, each int: the first is missed least.
        losses: float64 [steps], what removing the first 1, 2, ... groups adds to the loss.
        sizes: int [steps], heads or neurons in each group.
    """

    groups: tuple[np.ndarray, ...]
    losses: np.ndarray
    sizes: np.ndarray


def removal_by_moments(
    weight: Float32Array, moments: np.ndarray, metric: np.ndarray, units: np.ndarray, step: int
) -> Removal:
    """Removes the columns that can best be done without, given that the others make up for them.

    With H = E[(x - m)(x - m)^T] and G = E[g g^T], removing the columns R of W and refitting the others adds
    half of tr(G W_R ((H^-1)_RR)^-1 W_R^T) to the loss.

    Args:
        weight: float32 [out, in].
        moments: float64 [in, in], H, of the inputs about their mean.
        metric: float64 [out, out], G, of the derivatives by the outputs.
        units: int [n, width], the columns of each head or neuron.
        step: units removed at a time; what is left over is the first step.

    Returns:
        Steps until one step's worth of units is left.
    """
    inverse = np.linalg.inv(moments + damping_of(moments) * np.eye(len(moments)))
    values, vectors = np.linalg.eigh(metric)
    left = (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T) @ weight.astype(np.float64)
    alive = np.arange(len(units))
    groups, losses, loss = [], [], 0.0
    while len(alive) > step:
        gone = alive[_cheapest(left, inverse, units[alive], len(alive) % step or step)]
        loss += _eliminate(left, inverse, units[gone].ravel())
        alive = np.setdiff1d(alive, gone)
        groups.append(gone)
        losses.append(loss)
    return Removal(tuple(groups), np.array(losses), np.array([len(group) for group in groups]))


def _cheapest(left: np.ndarray, inverse: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """Which `count` of the units to remove: one by one, since of two that stand in for each other one must stay.

    To be quick, only those that would be the cheapest alone are candidates.

    Args:
        left: float64 [out, in], weights in units of the loss, G^1/2 W.
        inverse: float64 [in, in], H^-1.
        units: int [n, width], columns.
        count: how many to choose.

    Returns:
        int [count], rising.
    """
    candidates = np.argsort(_costs(left, inverse, units), kind="stable")[: 1 if count == 1 else 4 * count]
    columns = units[candidates].ravel()
    left, inverse = left[:, columns], inverse[np.ix_(columns, columns)]
    places = np.arange(len(columns)).reshape(len(candidates), -1)
    chosen: list[int] = []
    for _ in range(count):
        costs = _costs(left, inverse, places)
        costs[chosen] = np.inf
        chosen.append(int(np.argmin(costs)))
        _eliminate(left, inverse, places[chosen[-1]])
    return np.sort(candidates[chosen])


def _costs(left: np.ndarray, inverse: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Twice what removing each unit alone adds to the loss: float64 [n]."""
    parts = left[:, units].transpose(1, 0, 2)
    corners = np.linalg.inv(inverse[units[:, :, None], units[:, None, :]])
    return (np.matmul(parts, corners) * parts).sum(axis=(1, 2))


def _eliminate(left: np.ndarray, inverse: np.ndarray, columns: np.ndarray) -> float:
    """Removes columns, in place, the others making up for them; returns what that adds to the loss."""
    corner = np.linalg.inv(inverse[np.ix_(columns, columns)])
    removed = left[:, columns] @ corner
    loss = float((removed * left[:, columns]).sum()) / 2
    left -= removed @ inverse[columns]
    inverse -= inverse[:, columns] @ corner @ inverse[columns]
    # Rounding leaves dust where zeros belong, and the unit diagonal keeps what is gone invertible.
    left[:, columns] = 0
    inverse[columns], inverse[:, columns] = 0, 0
    inverse[columns, columns] = 1
    return loss


def removal_by_magnitude(strengths: np.ndarray, step: int) -> Removal:
    """Removes the weakest units first: strengths float64 [n], the sum of squares of each one's weights."""
    order = np.argsort(strengths, kind="stable")
    first = len(order) % step or step
    cuts = range(first, len(order), step)
    groups = tuple(np.sort(part) for part in np.split(order, list(cuts)))[:-1]
    losses = np.cumsum([strengths[group].sum() for group in groups])
    return Removal(groups, losses, np.array([len(group) for group in groups]))


def ffn_removal(network: Network, number: int, moments: Moments | None) -> Removal:
    """The order in which a layer's neurons go, a panel of 16 at a time."""
    size = network.architecture.layers[number].ffn_size
    down = float_linear(network, f"layers.{number}.ffn.down")
    if moments is not None:
        units = np.arange(size)[:, None]
        return removal_by_moments(down.weight, moments.covariances[0], moments.outputs[0], units, LANES)
    up = float_linear(network, f"layers.{number}.ffn.up")
    strengths = np.square(up.weight, dtype=np.float64).sum(axis=1)
    strengths *= np.square(down.weight[:, :size], dtype=np.float64).sum(axis=0)
    return removal_by_magnitude(np.sqrt(strengths), LANES)


def head_removal(network: Network, number: int, moments: Moments | None) -> Removal:
    """The order in which a layer's heads go, one at a time."""
    heads = network.architecture.layers[number].num_heads
    width = padded(network.architecture.head_size)
    output = float_linear(network, f"layers.{number}.attention.output")
    units = np.arange(heads * width).reshape(heads, width)
    if moments is not None:
        return removal_by_moments(output.weight, moments.covariances[0], moments.outputs[0], units, 1)
    qkv = float_linear(network, f"layers.{number}.attention.qkv").weight
    values = np.square(qkv[2 * heads * width :], dtype=np.float64).reshape(heads, -1).sum(axis=1)
    strengths = values * np.square(output.weight, dtype=np.float64).sum(axis=0).reshape(heads, width).sum(axis=1)
    return removal_by_magnitude(np.sqrt(strengths), 1)


def allocate(removals: Sequence[Removal], totals: Sequence[int], share: float, budget: Budget) -> list[int]:
    """How many steps each layer takes, so that `share` of all units goes at the least total loss.

    Args:
        removals: of each layer.
        totals: units that each layer has.
        share: the part of the units to remove, of all together or (budget "matrix") of each layer.
        budget: which of the two; "global" leaves each layer LEAST_OF_SHARE of what "matrix" would.

    Returns:
        Steps of each layer. Their units come closest to the share from above, if the limits let them.
    """
    reached = [np.concatenate([[0], np.cumsum(removal.sizes)]) for removal in removals]
    if budget == "matrix":
        return [
            min(int(np.searchsorted(units, round(share * total) - 0.5)), len(units) - 1)
            for units, total in zip(reached, totals, strict=True)
        ]
    target = round(share * sum(totals))
    most = 1 - LEAST_OF_SHARE * (1 - share)
    # Knapsack: best[u] is the least loss at which the layers so far give up u units together.
    best, choices = np.array([0.0]), []
    for removal, units, total in zip(removals, reached, totals, strict=True):
        losses = np.concatenate([[0.0], removal.losses])[units <= most * total]
        grown = np.full(len(best) + units[len(losses) - 1], np.inf)
        choice = np.zeros(len(grown), np.int64)
        for steps, loss in enumerate(losses):
            part = slice(units[steps], units[steps] + len(best))
            better = best + loss < grown[part]
            grown[part] = np.where(better, best + loss, grown[part])
            choice[part] = np.where(better, steps, choice[part])
        best = grown
        choices.append(choice)
    enough = np.flatnonzero(np.isfinite(best))
    at = int(enough[min(np.searchsorted(enough, target), len(enough) - 1)])
    taken: list[int] = []
    for choice, units in zip(reversed(choices), reversed(reached), strict=True):
        taken.append(int(choice[at]))
        at -= int(units[taken[-1]])
    return taken[::-1]


def survivors(removal: Removal, total: int, steps: int) -> np.ndarray:
    """Units left after some steps, in rising order."""
    gone = np.concatenate([np.zeros(0, np.int64), *removal.groups[:steps]])
    return np.setdiff1d(np.arange(total), gone)
