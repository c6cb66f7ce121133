"""Block sparsity: which blocks of the weights to keep, by a score for each and a budget for all.

A block is rows x columns = outputs x inputs. The engine stores and multiplies blocks of 4x4, so 4x4 and whatever
consists of whole 4x4 blocks (8x4, 32x32, ...) is gained in full; of finer patterns (1x4, 4x1, 8x1, unstructured) it
gains the 4x4 blocks that happen to be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from minibert_converter.matrices import encoder_names, float_linear, real_rows_and_columns
from minibert_converter.network import Network

Budget = Literal["global", "matrix"]
#: A global budget leaves every matrix at least this part of what an equal share would leave it: the scores foretell
#: small changes, and say too little of a matrix that is nearly gone.
LEAST_OF_SHARE = 0.6


def cut(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A matrix as blocks [down, across, rows, columns], zeros added where the last ones stand out of it."""
    high, wide = -(-values.shape[0] // rows), -(-values.shape[1] // columns)
    missing = (high * rows - values.shape[0], wide * columns - values.shape[1])
    if any(missing):
        values = np.pad(values, ((0, missing[0]), (0, missing[1])))
    return values.reshape(high, rows, wide, columns).transpose(0, 2, 1, 3)


def spread(blocks: np.ndarray, rows: int, columns: int, shape: tuple[int, ...]) -> np.ndarray:
    """One value a block becomes one value a weight: the reverse of `cut`, [out, in]."""
    return np.repeat(np.repeat(blocks, rows, axis=0)[: shape[0]], columns, axis=1)[:, : shape[1]]


def block_density(weight: np.ndarray, real: np.ndarray, rows: int = 4, columns: int = 4) -> float:
    """Of the blocks with a real weight in them, the part with a weight other than zero.

    Args:
        weight: [out, in].
        real: bool [out, in], False for padding.
        rows: outputs in a block.
        columns: inputs in a block.
    """
    blocks = cut(real, rows, columns).any(axis=(2, 3))
    stored = cut(weight != 0, rows, columns).any(axis=(2, 3))
    return float((stored & blocks).sum() / max(blocks.sum(), 1))


def encoder_densities(network: Network) -> dict[str, float]:
    """Of each matrix of the encoder, the part of its 4x4 blocks with a weight other than zero, padding not counted."""
    densities = {}
    for name in encoder_names(network):
        rows, columns = real_rows_and_columns(network.architecture, name)
        densities[name] = block_density(float_linear(network, name).weight, rows[:, None] & columns)
    return densities


def select(
    scores: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], share: float, budget: Budget
) -> dict[str, np.ndarray]:
    """Which blocks stay: those with the highest scores.

    Args:
        scores: by matrix, [blocks down, blocks across]. For a global budget they must be comparable.
        real: by matrix, bool of the same shape: False for blocks of padding alone, which count for nothing.
        share: the part of the real blocks to remove; blocks that are zero already are the first of them.
        budget: "matrix" removes that part of every matrix; "global" that part of all together, but leaves each
            matrix LEAST_OF_SHARE of what "matrix" would.

    Returns:
        By matrix, bool of the same shape.
    """
    if budget == "matrix":
        return {name: _highest(scores[name], real[name], share) for name in scores}
    places, ranked = [], []
    for name, values in scores.items():
        safe = _highest(values, real[name], 1 - LEAST_OF_SHARE * (1 - share))
        ranked.append(np.where(safe, np.inf, values).ravel())
        places.append(real[name].ravel())
    kept = _highest(np.concatenate(ranked), np.concatenate(places), share)
    ends = np.cumsum([values.size for values in ranked])
    parts = np.split(kept, ends[:-1])
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def _highest(values: np.ndarray, real: np.ndarray, share: float) -> np.ndarray:
    """The real ones without the `share` of them with the lowest values; one at least is kept. Bool, as `values`."""
    candidates = np.flatnonzero(real)
    count = min(round(share * candidates.size), candidates.size - 1)
    kept = real.copy()
    if count > 0:
        order = np.argsort(values.ravel()[candidates], kind="stable")
        kept.ravel()[candidates[order[:count]]] = False
    return kept
