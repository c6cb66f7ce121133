"""Block sparsity: which blocks of the weights to keep, by a score for each and a budget for all.

A block is rows x columns = outputs x inputs. The engine stores and multiplies blocks of 4x4, so 4x4 and whatever
consists of whole 4x4 blocks (8x4, 32x32, ...) is gained in full; of finer patterns (1x4, 4x1, 8x1, unstructured) it
gains the 4x4 blocks that happen to be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from ..network import Float32Array

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


def magnitude_scores(weight: Float32Array, rows: int, columns: int) -> np.ndarray:
    """Sum of squares of each block: float64 [blocks down, blocks across]."""
    return np.square(cut(weight, rows, columns), dtype=np.float64).sum(axis=(2, 3))


def calibrated_scores(weight: Float32Array, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """What removing each block alone would add to the loss, to second order.

    The Hessian of the loss by a matrix's weights is taken to be the Kronecker product of the inputs' second moments
    A = E[x x^T] and those of the derivatives by its outputs, G = E[g g^T] (K-FAC, arXiv 1503.05671). Removing the
    weights W_b of one block then adds half of tr(G_b W_b A_b W_b^T), with the corners of A and G that the block
    meets. With G the unit matrix, and A and G cut down to their diagonals, this is the score of Wanda
    (arXiv 2306.11695); G adds what the rest of the network makes of an error, and makes matrices comparable. oBERT
    (arXiv 2203.07259) takes the same quadratic form with the Fisher information of each block.

    Args:
        weight: float32 [out, in].
        inputs: float64 [blocks across, columns, columns], A.
        outputs: float64 [blocks down, rows, rows], G.

    Returns:
        float64 [blocks down, blocks across].
    """
    rows, columns = outputs.shape[1], inputs.shape[1]
    blocks = cut(weight, rows, columns).astype(np.float64)
    moved = np.matmul(outputs[:, None], np.matmul(blocks, inputs[None]))
    return (moved * blocks).sum(axis=(2, 3)) / 2


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
