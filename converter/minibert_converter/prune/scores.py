"""What removing a block of weights costs: by its size, or by what it does to the answers on calibration texts."""

from __future__ import annotations

import numpy as np

from ..network import Float32Array
from .blocks import cut

#: Removals that a row of blocks is gone through in, at most: of longer rows several blocks go at once.
_STEPS = 128
#: Outputs that are gone through together, which bounds the memory.
_OUTPUTS = 256


def magnitude_scores(weight: Float32Array, rows: int, columns: int) -> np.ndarray:
    """Sum of squares of each block: float64 [blocks down, blocks across]."""
    return np.square(cut(weight, rows, columns), dtype=np.float64).sum(axis=(2, 3))


def calibrated_scores(weight: Float32Array, inputs: np.ndarray, outputs: np.ndarray, columns: int) -> np.ndarray:
    """What removing each block adds to the loss, to second order, at the time when it is best removed.

    The Hessian of the loss by a matrix's weights is taken to be the Kronecker product of the inputs' second moments
    A = E[x x^T] and those of the derivatives by its outputs, G = E[g g^T] (K-FAC, arXiv 1503.05671): removing the
    weights D adds half of tr(G D A D^T). Of one weight alone, with G the unit matrix, this is the score of Wanda
    (arXiv 2306.11695). G adds what the rest of the network makes of an error, which makes matrices comparable, and
    the corners of A and G that a block meets are the quadratic form of oBERT (arXiv 2203.07259).

    Blocks that read correlated inputs do not fail by themselves: their errors add up, or cancel. So the blocks of a
    row are removed one after another, each time the one that adds least to what is gone already. Between rows
    nothing is exchanged. A block's score is the most that a removal in its row has cost up to its own, so that a
    threshold on scores keeps the order.

    Args:
        weight: float32 [out, in].
        inputs: float64 [in, in], A.
        outputs: float64 [blocks down, rows, rows], corners of G along its diagonal.
        columns: inputs in a block.

    Returns:
        float64 [blocks down, blocks across].
    """
    rows = outputs.shape[1]
    blocks = cut(weight, rows, columns).astype(np.float64)
    missing = blocks.shape[1] * columns - len(inputs)
    inputs = np.pad(inputs, ((0, missing), (0, missing)))
    together = max(_OUTPUTS // rows, 1)
    parts = [
        _score_rows(blocks[first : first + together], inputs, outputs[first : first + together])
        for first in range(0, len(blocks), together)
    ]
    return np.concatenate(parts)


def _score_rows(blocks: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Scores of some rows of blocks, float64 [n, across, rows, columns]."""
    count, across, rows, columns = blocks.shape
    slopes = np.matmul(outputs[:, None], blocks)  # G D
    corners = np.stack([inputs[at : at + columns, at : at + columns] for at in range(0, len(inputs), columns)])
    cost = (np.matmul(slopes, corners) * blocks).sum(axis=(2, 3)) / 2
    inputs = inputs.reshape(across, columns, -1)
    scores, highest = np.empty((count, across)), np.zeros((count, 1))
    every = np.arange(count)[:, None]
    step = -(-across // _STEPS)
    for removed in range(0, across, step):
        gone = np.argsort(cost, axis=1, kind="stable")[:, : min(step, across - removed)]
        costs = np.maximum.accumulate(np.maximum(cost[every, gone], highest), axis=1)
        scores[every, gone], highest = costs, costs[:, -1:]
        cost[every, gone] = np.inf
        # What is gone is an error D A of the outputs' products with every other input, which blocks there add to.
        lost = blocks[every, gone].transpose(0, 2, 1, 3).reshape(count, rows, -1)
        lost = np.matmul(lost, inputs[gone].reshape(count, lost.shape[2], -1))
        cost += (slopes * _cut_rows(lost, columns)).sum(axis=(2, 3))
    return scores


def _cut_rows(lost: np.ndarray, columns: int) -> np.ndarray:
    """[n, rows, in] as blocks [n, across, rows, columns]."""
    count, rows, _ = lost.shape
    return lost.reshape(count, rows, -1, columns).transpose(0, 2, 1, 3)
