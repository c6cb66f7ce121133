"""Tables as entries of codebooks: product quantization (Jégou et al., IEEE TPAMI 33(1), 2011; arXiv 1510.00149).

The columns are cut into sub-vectors of a few neighbours; those of all rows at one place are clustered, and each becomes
one byte, the number of the nearest of 256 centres. Rows are clustered by direction: their lengths are their scales.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minibert.format.constants import CODEBOOK_ENTRIES
from minibert_converter.network import CodebookTable, Float32Array
from minibert_converter.passes.embeddings.assignment import assign
from minibert_converter.progress import OnProgress, no_progress

#: Rows that the centres are fitted to, the heaviest most likely among them; more hardly move a centre.
MAX_ROWS = 32768
#: Rounds of moving centres: thirty would lower the error by one percent.
ROUNDS = 10
#: Rows that are decoded at once.
_CHUNK = 1024
#: A centre is nowhere near zero or infinity if a row has length 1; this one is.
_TINY = 1e-30


def codebook_table(
    table: Float32Array,
    subvector_size: int,
    weights: npt.NDArray[np.float64],
    random: np.random.Generator,
    progress: OnProgress = no_progress,
) -> CodebookTable:
    """Codes and codebooks of a float32 [rows, H] table.

    Args:
        table: its rows; H is a multiple of `subvector_size`.
        subvector_size: columns of an entry.
        weights: float64 [rows], positive: what the error of each row counts.
        random: chooses the first centres, and the rows to fit them to if there are many.
        progress: called with the stage "clustering" and counts of sub-vectors.
    """
    rows, columns = table.shape
    parts = columns // subvector_size
    lengths = np.sqrt(np.einsum("ij,ij->i", table, table))
    inverse: Float32Array = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)[:, None]
    chosen = np.arange(rows)
    if rows > MAX_ROWS:
        chosen = np.sort(random.choice(rows, MAX_ROWS, replace=False, p=weights / weights.sum()))
        weights = np.ones(rows)  # they were chosen by them
    centres = np.empty((parts, CODEBOOK_ENTRIES, subvector_size), np.float32)
    codes = np.empty((rows, parts), np.uint8)
    for part in range(parts):
        progress("clustering", part, parts)
        points: Float32Array = table[:, part * subvector_size : (part + 1) * subvector_size] * inverse
        centres[part] = cluster(points[chosen], weights[chosen], CODEBOOK_ENTRIES, random)
        codes[:, part] = nearest(points, centres[part])
    progress("clustering", parts, parts)
    step = max(float(np.abs(centres).max()), _TINY) / 127
    table_of = CodebookTable(codes, np.rint(centres / step).astype(np.int8), np.ones(rows, np.float32))
    table_of.scale = _fitted_scales(table, table_of)
    return table_of


def cluster(
    points: Float32Array, weights: npt.NDArray[np.float64], count: int, random: np.random.Generator
) -> Float32Array:
    """Centres [count, d] of points [n, d] by k-means (Lloyd): each is the weighted mean of those nearest to it.

    A centre that no point is nearest to becomes a point chosen by weight.
    """
    chances = weights / weights.sum()
    drawn = random.choice(len(points), count, replace=bool(np.count_nonzero(chances) < count), p=chances)
    centres = points[drawn].astype(np.float32)
    for _ in range(ROUNDS):
        codes = nearest(points, centres)
        total = np.bincount(codes, weights, count)
        for column in range(points.shape[1]):
            sums = np.bincount(codes, weights * points[:, column], count)
            np.divide(sums, total, out=centres[:, column], where=total > 0, casting="same_kind")
        if (lost := np.flatnonzero(total == 0)).size:
            centres[lost] = points[random.choice(len(points), lost.size, p=chances)]
    return centres


def nearest(points: Float32Array, centres: Float32Array) -> npt.NDArray[np.int64]:
    """For each point [n, d], the number of the nearest of the centres [k, d]; the first of equally near ones."""
    codes = np.empty(len(points), np.int64)
    points, centres = (np.ascontiguousarray(each, np.float32) for each in (points, centres))
    assign(points, np.ascontiguousarray(centres.T), (centres * centres).sum(axis=1) / 2, codes)
    return codes


def _fitted_scales(table: Float32Array, decoded: CodebookTable) -> Float32Array:
    """For each row, the scale that leaves the smallest squared error; entries are those of scale 1 in `decoded`."""
    scales = np.empty(len(table), np.float32)
    for first in range(0, len(table), _CHUNK):
        part = slice(first, first + _CHUNK)
        rows = decoded.entries(part).astype(np.float32)
        scales[part] = (rows * table[part]).sum(axis=1) / np.maximum((rows * rows).sum(axis=1), 1)
    return scales
