"""What removing a block of weights costs: by its size, or by what it does to the answers on calibration texts."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from minibert_converter.calibration.regression import damping_of
from minibert_converter.network import Float32Array
from minibert_converter.passes.prune.blocks import cut
from minibert_converter.passes.prune.elimination import eliminate

#: Inputs that make up for one another while blocks are chosen. Time grows with the square of it, and what stays is
#: fitted over all inputs afterwards.
_INPUTS = 384
#: Rows of blocks that a thread goes through at a time.
_ROWS = 16


def magnitude_scores(weight: Float32Array, rows: int, columns: int) -> np.ndarray:
    """Sum of squares of each block: float64 [blocks down, blocks across]."""
    return np.square(cut(weight, rows, columns), dtype=np.float64).sum(axis=(2, 3))


def second_order_scores(weight: Float32Array, inputs: np.ndarray, outputs: np.ndarray, columns: int) -> np.ndarray:
    """What removing each block adds to the loss when all others make up for it, at the time when it is best removed.

    The Hessian of the loss by a matrix's weights is taken to be the Kronecker product of the inputs' second moments
    H = E[x x^T] and those of the derivatives by its outputs, G = E[g g^T] (K-FAC, arXiv 1503.05671), of which the
    corners along the diagonal are kept: between rows of blocks nothing is exchanged. Removing the block w of a row and
    updating the others adds tr(G w ((H^-1)_bb)^-1 w^T) / 2 (Optimal Brain Surgeon for blocks: arXiv 2203.07259,
    2208.11580). G adds what the rest of the network makes of an error, which makes matrices comparable.

    The blocks of a row are removed one after another, the cheapest first, with that update in between. A block's score
    is the most that a removal in its row has cost up to its own, so that a threshold on scores keeps the order.

    Args:
        weight: float32 [out, in].
        inputs: float64 [in, in], H.
        outputs: float64 [blocks down, rows, rows], corners of G along its diagonal.
        columns: inputs in a block.

    Returns:
        float64 [blocks down, blocks across].
    """
    blocks = cut(weight, outputs.shape[1], columns)
    missing = blocks.shape[1] * columns - len(inputs)
    damping = damping_of(inputs)
    inputs = np.pad(inputs, ((0, missing), (0, missing))) + damping * np.eye(len(inputs) + missing)
    metric = outputs.astype(np.float32)
    scores = np.empty(blocks.shape[:2])
    together = max(_INPUTS // columns, 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, blocks.shape[1], together):
            corner = slice(first * columns, (first + together) * columns)
            inverse = np.linalg.inv(inputs[corner, corner]).astype(np.float32)
            part = blocks[:, first : first + together].astype(np.float32)
            wide = np.ascontiguousarray(part.transpose(0, 2, 1, 3)).reshape(len(part), metric.shape[1], -1)
            starts = list(range(_ROWS, len(part), _ROWS))
            done = pool.map(
                eliminate, np.split(wide, starts), repeat(inverse), np.split(metric, starts), repeat(columns)
            )
            scores[:, first : first + together] = np.concatenate(list(done))
    return scores
