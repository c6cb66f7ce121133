"""From float32 rows to int8 codes with one scale a row: to the nearest, or so that errors make up for each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minibert_converter.network import Float32Array, Int8Array

#: Codes span -LIMIT..LIMIT; -128 is left out, so that a weight and its negative have opposite codes.
LIMIT = 127
#: A row whose largest magnitude is no more counts as zero: its scale would be no normal float32 number.
SMALLEST_ROW = 1e-30
#: Added to the diagonal of the second moments, as a part of its mean: ten times what GPTQ takes. MiniLM loses as much
#: with either, and with more of it the weights keep nearer to themselves in directions that few texts have shown.
_DAMPING = 0.1
#: Columns whose errors are handed on one by one before the rest of the matrix hears of them.
_BLOCK = 128
#: Rows of a table that are worked on at once: those of 250,000 words would need gigabytes.
TOGETHER = 4096
#: A triangle so small is inverted as any matrix is.
_SMALL_TRIANGLE = 64


def row_scales(weight: Float32Array) -> Float32Array:
    """float32 [out], largest magnitude of each row / LIMIT; 1 for a row of zeros."""
    largest = np.maximum(weight.max(axis=1, initial=0), -weight.min(axis=1, initial=0))
    return np.where(largest > SMALLEST_ROW, largest / np.float32(LIMIT), np.float32(1)).astype(np.float32)


def round_to_nearest(weight: Float32Array) -> tuple[Int8Array, Float32Array]:
    """Codes int8 [out, in] and scales float32 [out]: weight is about codes * scales[:, None]."""
    scales = row_scales(weight)
    codes = np.empty(weight.shape, np.int8)
    for first in range(0, len(weight), TOGETHER):
        rows = slice(first, first + TOGETHER)
        codes[rows] = np.clip(np.rint(weight[rows] / scales[rows, None]), -LIMIT, LIMIT)
    return codes, scales


def round_compensated(weight: Float32Array, moments: np.ndarray) -> tuple[Int8Array, Float32Array]:
    """Rounds so that errors make up for each other, on the grid of `round_to_nearest`.

    Args:
        weight: float32 [out, in].
        moments: [in, in], H of `compensate`.

    Returns:
        Codes int8 [out, in] and scales float32 [out], the scales those of `round_to_nearest`.
    """
    scales = row_scales(weight)
    codes = compensate(
        weight / scales[:, None],
        moments,
        lambda number, column: np.clip(np.rint(column), -LIMIT, LIMIT),
    )
    return codes.astype(np.int8), scales


def compensate(weight: np.ndarray, moments: np.ndarray, nearest: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Rounds column after column, each time moving the columns still to come to make up for the error.

    What counts is not the weights' error but that of the outputs, E|(W - W')x|^2 = tr (W - W') H (W - W')^T with
    H = E[x x^T]: with correlated inputs the error of one column can be taken back by others. The update is that of
    Optimal Brain Quantization (arXiv 2208.11580), for all rows in one order of columns by the Cholesky factor of
    H's inverse (GPTQ, arXiv 2210.17323), the inputs with the largest moments first. A weight that is exactly zero was
    pruned and stays zero, as in SparseGPT (arXiv 2301.00774): what it would have made up for, later columns do.

    All in float32: damping keeps H far enough from singular, and codes differ where a weight lies between two alone.

    Args:
        weight: [out, in], each row in units of its own choice.
        moments: [in, in], H: symmetric, positive semi-definite.
        nearest: called with the number of a column and its values [out], what they are rounded to.

    Returns:
        float32 [out, in].
    """
    order = np.argsort(-np.diag(moments), kind="stable")
    factor = inverse_factor(moments[np.ix_(order, order)])
    left = np.asarray(weight, np.float32)[:, order]
    codes, pruned, related = np.empty_like(left), left == 0, not _is_diagonal(factor)
    for start in range(0, left.shape[1], _BLOCK):
        block = slice(start, min(start + _BLOCK, left.shape[1]))
        # Columns as rows: the inner loop then runs along memory.
        columns = np.ascontiguousarray(left[:, block].T)
        triangle, errors = factor[block, block], np.empty_like(columns)
        for j, column in enumerate(columns):
            rounded = np.where(pruned[:, start + j], 0, nearest(int(order[start + j]), column))
            codes[:, start + j] = rounded
            if related:
                errors[j] = (column - rounded) / triangle[j, j]
                columns[j + 1 :] -= np.outer(triangle[j, j + 1 :], errors[j])
        if related:
            left[:, block.stop :] -= errors.T @ factor[block, block.stop :]
    result = np.empty_like(codes)
    result[:, order] = codes
    return result


def inverse_factor(moments: np.ndarray) -> Float32Array:
    """float32 [in, in], upper triangular U with U^T U = (H + damping)^-1; H as `compensate` takes it, no copy of it."""
    damped = np.asarray(moments, np.float32)
    diagonal = np.diag(damped).copy()
    damping = _DAMPING * diagonal.mean()
    # An input that is always zero has no say: a moment of its own keeps H invertible and its weight as it is.
    damped[np.diag_indices_from(damped)] += np.where(diagonal > 0, damping, damping or 1.0).astype(np.float32)
    if _is_diagonal(damped):
        return np.diag(np.diag(damped) ** -0.5)
    # With rows and columns in reverse H = R R^T has R upper triangular, and U is its inverse: nothing but a triangle
    # is ever inverted.
    damped = damped[::-1, ::-1]
    try:
        triangle = np.linalg.cholesky(damped)
    except np.linalg.LinAlgError:  # one input outweighs all others by more than float32 can tell apart
        triangle = np.linalg.cholesky(damped.astype(np.float64)).astype(np.float32)
    return _inverse_of_lower(triangle)[::-1, ::-1]


def _is_diagonal(matrix: np.ndarray) -> bool:
    """Whether inputs have nothing to do with each other, so that none makes up for another."""
    return np.count_nonzero(matrix) == np.count_nonzero(np.diag(matrix))


def _inverse_of_lower(triangle: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix, from those of its halves: nearly all of it is products."""
    size = len(triangle)
    if size <= _SMALL_TRIANGLE:
        return np.linalg.inv(triangle)
    half = size // 2
    inverse = np.zeros_like(triangle)
    inverse[:half, :half] = first = _inverse_of_lower(triangle[:half, :half])
    inverse[half:, half:] = last = _inverse_of_lower(triangle[half:, half:])
    inverse[half:, :half] = -last @ (triangle[half:, :half] @ first)
    return inverse
