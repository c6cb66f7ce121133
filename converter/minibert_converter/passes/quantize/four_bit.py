"""From float32 rows to four bits a weight: on a grid of int8 values that a group of inputs, or a panel, has for itself.

Both forms stand for int8 weights exactly (see minibert.format.four_bit), so what is chosen here are int8 codes of which
each lies on the grid, and the grid:

    int4        {-7, ..., 7} times a whole number from 1 to 18, for each output and each group of inputs
    int4-4x4    the same for each run of eight blocks, of a matrix of which only some blocks are left
    codebook    sixteen values for each panel of 16 outputs, found by k-means (Deep Compression, arXiv 1510.00149)

Grids come first, by the error that rounding alone would make, each weight counted by how much of its error nothing can
make up for; then `compensate` rounds column after column onto them; last, each row gets the scale that suits its codes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minibert.format.constants import BLOCK, CODEBOOK_VALUES, GROUP, INT4_LIMIT, LANES, MAX_MULTIPLIER, RUN, padded
from minibert_converter.network import BlockGrid, CodebookGrid, Float32Array, GroupGrid, Int8Array
from minibert_converter.passes.prune.blocks import cut
from minibert_converter.passes.quantize.rounding import LIMIT, SMALLEST_ROW, compensate, inverse_factor, row_scales

#: Inputs that share a multiplier: 4.25 bits a weight.
GROUP_SIZE = 32
#: Steps that a group's grid may have, as parts of the one that reaches its largest weight.
_REACHES = np.linspace(0.5, 1.0, 11, dtype=np.float32)
_MULTIPLIERS = np.arange(1, MAX_MULTIPLIER + 1, dtype=np.float32)
#: What the scale of an output may change by, once the multipliers are known that it shares with others.
_CHANGES = np.linspace(0.7, 1.3, 13, dtype=np.float32)
_KMEANS_ROUNDS = 40


def round_int4(
    weight: Float32Array, moments: np.ndarray, group_size: int = GROUP_SIZE
) -> tuple[Int8Array, Float32Array, GroupGrid]:
    """Rounds a matrix to int4 in groups.

    Args:
        weight: float32 [out, in].
        moments: float64 [in, in], H of `compensate`; the identity rounds each weight by itself.
        group_size: inputs that share a multiplier, a multiple of 4.

    Returns:
        Weights int8 [out, in] on the grid, scales float32 [out], and the grid.
    """
    scales, multiplier = _group_steps(weight, _importance(moments), group_size)
    grid = GroupGrid(multiplier, group_size)
    return *_round_in_steps(weight, moments, scales, grid.steps(weight.shape[1])), grid


def round_int4_blocks(weight: Float32Array, moments: np.ndarray) -> tuple[Int8Array, Float32Array, BlockGrid]:
    """Rounds a matrix to int4 in runs of the blocks that hold anything; see `round_int4`."""
    kept = np.any(cut(weight != 0, BLOCK, GROUP), axis=(2, 3))
    scales, multiplier = _run_steps(weight, _importance(moments), kept)
    grid = BlockGrid(kept, multiplier)
    return *_round_in_steps(weight, moments, scales, grid.steps()[: len(weight)]), grid


def _round_in_steps(
    weight: Float32Array, moments: np.ndarray, scales: Float32Array, multiplier: np.ndarray
) -> tuple[Int8Array, Float32Array]:
    """Weights int8 [out, in], multiples of those of each weight, and the scales [out] that suit them best."""
    steps = multiplier.astype(np.float64)

    def nearest(number: int, column: np.ndarray) -> np.ndarray:
        step = steps[:, number]
        return step * np.clip(np.rint(column / step), -INT4_LIMIT, INT4_LIMIT)

    codes = compensate(weight / scales[:, None].astype(np.float64), moments, nearest)
    return codes.astype(np.int8), _best_scales(weight, codes, moments, scales)


def round_codebook(weight: Float32Array, moments: np.ndarray) -> tuple[Int8Array, Float32Array, CodebookGrid]:
    """Rounds a matrix to sixteen values a panel; see `round_int4`."""
    outputs, scales = len(weight), row_scales(weight)
    left = weight / scales[:, None].astype(np.float64)
    grid = CodebookGrid(_shared_values(left, _importance(moments)))
    values = grid.values.astype(np.float64)

    def nearest(number: int, column: np.ndarray) -> np.ndarray:
        lanes = np.zeros(padded(outputs))
        lanes[:outputs] = column
        place = np.abs(lanes.reshape(-1, LANES, 1) - values[:, None, :]).argmin(axis=2)
        return np.take_along_axis(values, place, axis=1).reshape(-1)[:outputs]

    codes = compensate(left, moments, nearest)
    return codes.astype(np.int8), _best_scales(weight, codes, moments, scales), grid


def _importance(moments: np.ndarray) -> Float32Array:
    """float32 [in], by input: what a squared error of its weights costs once later inputs have made up for it."""
    order = np.argsort(-np.diag(moments), kind="stable")
    left = np.empty(len(order), np.float32)
    left[order] = np.diag(inverse_factor(moments[np.ix_(order, order)])) ** -2.0
    return left / left.mean()


def _group_steps(weight: Float32Array, importance: Float32Array, size: int) -> tuple[Float32Array, np.ndarray]:
    """Scales float32 [out] and multipliers uint8 [out, groups]: each group's step is one times the other."""
    outputs, inputs = weight.shape
    missing = -inputs % size
    groups = np.pad(weight, ((0, 0), (0, missing))).reshape(outputs, -1, size)
    counts = np.pad(importance, (0, missing)).reshape(-1, size)

    def error(step: np.ndarray) -> np.ndarray:
        step = step[:, :, None]
        rounded = step * np.clip(np.rint(groups / step), -INT4_LIMIT, INT4_LIMIT)
        return (counts * np.square(groups - rounded)).sum(axis=2)

    largest = np.abs(groups).max(axis=2)
    row = largest.max(axis=1, keepdims=True)
    # A group of next to nothing has the least step that its row's multipliers can say.
    largest = np.maximum(largest, np.where(row > 1e-30, row, LIMIT) / (2 * MAX_MULTIPLIER)).astype(np.float32)
    step = _reaching(largest, error)
    scales = step.max(axis=1) / np.float32(MAX_MULTIPLIER)
    lower = np.clip(np.floor(step / scales[:, None]), 1, MAX_MULTIPLIER).astype(np.float32)
    upper = np.minimum(lower + 1, MAX_MULTIPLIER)
    better = error(upper * scales[:, None]) < error(lower * scales[:, None])
    return scales, np.where(better, upper, lower).astype(np.uint8)


def _reaching(largest: np.ndarray, error: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of steps that reach the largest weights, or a part of them, those that err least; all of one shape."""
    step, least = largest, np.full(largest.shape, np.inf, np.float32)
    for reach in _REACHES:
        tried = largest * (reach / np.float32(INT4_LIMIT))
        found = error(tried)
        step, least = np.where(found < least, tried, step), np.minimum(found, least)
    return step


def _run_steps(weight: Float32Array, importance: Float32Array, kept: np.ndarray) -> tuple[Float32Array, np.ndarray]:
    """Scales float32 [out] and multipliers uint8 [runs, 4] of blocks: each step is one times the other.

    Args:
        weight: float32 [out, in].
        importance: float32 [in].
        kept: bool [out / 4, rounded up, in / 4].
    """
    group, column = np.nonzero(kept)
    blocks = cut(weight, BLOCK, GROUP)[group, column]
    counts = importance.reshape(-1, 1, GROUP)[column]
    run = np.arange(len(group)) // RUN
    runs, groups = np.arange(0, len(group), RUN), np.flatnonzero(np.diff(group, prepend=-1))
    # A piece is what a run has of one group of outputs: there a multiplier is one output's.
    pieces = np.flatnonzero(np.diff(run, prepend=-1) | np.diff(group, prepend=-1))
    piece = np.cumsum(np.bincount(pieces, minlength=len(group))) - 1
    size = np.zeros((len(kept), BLOCK), np.float32)
    np.add.at(size, group, (counts * np.square(blocks)).sum(axis=2))

    def errors(step: np.ndarray) -> np.ndarray:
        """Of each output of each block, by its step, as parts of that output's weights: [blocks, 4]."""
        step = np.maximum(step, np.float32(SMALLEST_ROW))[:, :, None]
        rounded = step * np.clip(np.rint(blocks / step), -INT4_LIMIT, INT4_LIMIT)
        lost = (counts * np.square(blocks - rounded)).sum(axis=2)
        return lost / np.maximum(size, np.float32(SMALLEST_ROW))[group]

    def best_multiplier(scales: Float32Array) -> np.ndarray:
        """The best for all outputs that each serves: float32 [runs, 4]."""
        tried = [np.add.reduceat(errors(scales[group] * np.float32(times)), runs) for times in _MULTIPLIERS]
        return _MULTIPLIERS[np.argmin(tried, axis=0)]

    largest = np.maximum.reduceat(np.abs(blocks).max(axis=2), pieces)
    step = _reaching(largest, lambda tried: np.add.reduceat(errors(tried[piece]), pieces))
    scales = np.zeros((len(kept), BLOCK), np.float32)
    np.maximum.at(scales, group[pieces], step / np.float32(MAX_MULTIPLIER))
    scales[scales < SMALLEST_ROW] = 1
    # Outputs whose runs serve others as well then give way.
    shared = best_multiplier(scales)[run]
    changed = [np.add.reduceat(errors(scales[group] * part * shared), groups) for part in _CHANGES]
    scales[group[groups]] *= _CHANGES[np.argmin(changed, axis=0)]
    return scales.reshape(-1)[: len(weight)], best_multiplier(scales).astype(np.uint8)


def _shared_values(weight: np.ndarray, importance: Float32Array) -> Int8Array:
    """Weighted k-means in one dimension: int8 [panels, 16], rising, 0 among them.

    Args:
        weight: float64 [out, in] in [-LIMIT, LIMIT].
        importance: float32 [in].
    """
    panels, bins = padded(len(weight)) // LANES, 2 * LIMIT + 1
    points = np.arange(-LIMIT, LIMIT + 1)
    places = np.rint(weight).astype(np.int64) + LIMIT + bins * (np.arange(len(weight)) // LANES)[:, None]
    counts = np.bincount(places.reshape(-1), np.broadcast_to(importance, places.shape).reshape(-1), panels * bins)
    counts = counts.reshape(panels, bins) + 1e-9
    # Dense where weights are, but less than they are: the best start for squared errors (Panter and Dite, 1951).
    share = np.cumsum(np.cbrt(counts), axis=1)
    wanted = (np.arange(CODEBOOK_VALUES) + 0.5) / CODEBOOK_VALUES
    values = np.stack([np.interp(wanted * row[-1], row, points) for row in share])
    panel = np.arange(panels)
    for _ in range(_KMEANS_ROUNDS):
        values[panel, np.abs(values).argmin(axis=1)] = 0  # what was pruned stays zero
        edges = (values[:, 1:] + values[:, :-1]) / 2
        member = (points[:, None] > edges[:, None, :]).sum(axis=2)[:, :, None] == np.arange(CODEBOOK_VALUES)
        sums = np.stack([counts, counts * points], axis=1) @ member.astype(float)
        values = np.where(sums[:, 0] > 0, sums[:, 1] / np.maximum(sums[:, 0], 1e-12), values)
    values[panel, np.abs(values).argmin(axis=1)] = 0
    return np.rint(values).astype(np.int8)


def _best_scales(weight: Float32Array, codes: np.ndarray, moments: np.ndarray, scales: Float32Array) -> Float32Array:
    """float32 [out], the scale with which each row of codes errs least: w H q / q H q."""
    against = codes @ moments
    length = (against * codes).sum(axis=1)
    best = (against * weight).sum(axis=1) / np.where(length > 0, length, 1)
    return np.where(best > 0, best, scales).astype(np.float32)
