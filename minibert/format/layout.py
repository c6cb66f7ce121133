"""The order in which the numbers of a weight matrix lie in the file: the order in which the kernels read them.

A matrix `[out, in]` is cut into panels of LANES outputs. Within a panel the inputs follow one another, and for each
input (or group of GROUP inputs, for int8) the values of all LANES outputs lie side by side: one 64-byte load of an
int8 panel is 16 outputs × 4 inputs, which is one `vpdpbusd` on 512-bit registers, two on 256 bits and four `sdot` on
128 bits. The same bytes serve every CPU. Outputs that only fill the last panel are zero.

A block-sparse matrix is cut into blocks of BLOCK outputs × GROUP inputs, 16 bytes: one 128-bit register. Only blocks
that hold a weight other than zero are stored, group of outputs by group of outputs, each with the place of its inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minibert.format.constants import BLOCK, GROUP, LANES, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pack_int8(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Lay an int8 matrix out in panels.

    Args:
        weight: int8 `[out, in]`, `in` a multiple of GROUP.

    Returns:
        int8 `[padded(out) / 16, in / 4, 16, 4]`, C-contiguous, zero where outputs are padding.

    Raises:
        ValueError: if the matrix is not int8, not two-dimensional, or `in` is not a multiple of GROUP.
    """
    in_features = _matrix_shape(weight, np.int8)[1]
    if in_features % GROUP:
        raise ValueError(f"an int8 matrix needs a multiple of {GROUP} inputs, not {in_features}: pad it with zeros")
    return np.ascontiguousarray(panels_of(weight))


def unpack_int8(packed: NDArray[np.int8], out_features: int | None = None) -> NDArray[np.int8]:
    """Undo `pack_int8`.

    Args:
        packed: int8 `[P, in / 4, 16, 4]`.
        out_features: outputs to keep; all of them, padding included, if None.

    Returns:
        int8 `[out_features, in]`, C-contiguous.
    """
    return _bytes_of(_words(packed).transpose(0, 2, 1), out_features)


def pack_float32(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay a float32 matrix out in panels.

    Args:
        weight: float32 `[out, in]`.

    Returns:
        float32 `[padded(out) / 16, in, 16]`, C-contiguous, zero where outputs are padding.

    Raises:
        ValueError: if the matrix is not float32 or not two-dimensional.
    """
    out_features, in_features = _matrix_shape(weight, np.float32)
    panels = _padded_rows(weight).reshape(padded(out_features) // LANES, LANES, in_features)
    return np.ascontiguousarray(panels.transpose(0, 2, 1))


def unpack_float32(packed: NDArray[np.float32], out_features: int | None = None) -> NDArray[np.float32]:
    """Undo `pack_float32`.

    Args:
        packed: float32 `[P, in, 16]`.
        out_features: outputs to keep; all of them, padding included, if None.

    Returns:
        float32 `[out_features, in]`, C-contiguous.
    """
    panels, in_features = packed.shape[:2]
    rows = packed.transpose(0, 2, 1).reshape(panels * LANES, in_features)
    return np.ascontiguousarray(rows[:out_features])


def filled_blocks(weight: NDArray[np.int8]) -> NDArray[np.bool_]:
    """The 4×4 blocks of an int8 matrix `[out, in]` that hold anything but zeros: bool `[out / 4, rounded up, in / 4]`.

    Raises:
        ValueError: if the matrix is not int8, not two-dimensional, or `in` is not a multiple of GROUP.
    """
    _, in_features = _matrix_shape(weight, np.int8)
    if in_features % GROUP:
        raise ValueError(f"blocks need a multiple of {GROUP} inputs, not {in_features}")
    groups = np.ascontiguousarray(_padded_rows(weight)).view(np.int32)  # four inputs at once
    filled = np.any(groups.reshape(-1, BLOCK, in_features // GROUP), axis=1)
    return np.asarray(filled)[: -(-len(weight) // BLOCK)]


def pack_blocks(
    weight: NDArray[np.int8], kept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.uint16], NDArray[np.int32]]:
    """Keep the 4×4 blocks of an int8 matrix that hold anything but zeros, or others.

    Args:
        weight: int8 `[out, in]`, `in` a multiple of GROUP and at most 4 · 65,535.
        kept: bool `[out / 4, rounded up, in / 4]`, the blocks to keep; None keeps those that hold anything.

    Returns:
        blocks: int8 `[B, 4, 4]`, 4 outputs × 4 inputs each; those of one group of 4 outputs follow one another by
            rising input.
        indices: uint16 `[B]`, the group of inputs (input // 4) of each block.
        indptr: int32 `[padded(out) / 4 + 1]`, the blocks of outputs 4g to 4g + 3 are `indptr[g]` to
            `indptr[g + 1] - 1`; groups of padding are empty.

    Raises:
        ValueError: if the matrix is not int8, not two-dimensional, or `in` is not a multiple of GROUP or too large.
    """
    out_features, in_features = _matrix_shape(weight, np.int8)
    if in_features % GROUP or in_features // GROUP > np.iinfo(np.uint16).max:
        raise ValueError(f"a block-sparse matrix needs a multiple of {GROUP} inputs, at most 262140, not {in_features}")
    grid = _padded_rows(weight).reshape(padded(out_features) // BLOCK, BLOCK, in_features // GROUP, GROUP)
    grid = grid.transpose(0, 2, 1, 3)
    kept = filled_blocks(weight) if kept is None else kept
    stays = np.pad(kept, ((0, len(grid) - len(kept)), (0, 0)))
    ends = np.cumsum(np.count_nonzero(stays, axis=1), dtype=np.int64)
    if ends.size and ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"a block-sparse matrix has fewer than 2**31 blocks, not {ends[-1]}")
    indices = np.nonzero(stays)[1].astype(np.uint16)
    return np.ascontiguousarray(grid[stays]), indices, np.concatenate(([0], ends)).astype(np.int32)


def unpack_blocks(
    blocks: NDArray[np.int8],
    indices: NDArray[np.uint16],
    indptr: NDArray[np.int32],
    in_features: int,
    out_features: int | None = None,
) -> NDArray[np.int8]:
    """Undo `pack_blocks`.

    Args:
        blocks: int8 `[B, 4, 4]`.
        indices: uint16 `[B]`.
        indptr: int32 `[padded(out) / 4 + 1]`.
        in_features: inputs of the matrix, a multiple of GROUP.
        out_features: outputs to keep; all of them, padding included, if None.

    Returns:
        int8 `[out_features, in]`, C-contiguous.
    """
    groups = indptr.size - 1
    grid = np.zeros((groups, in_features // GROUP, BLOCK), np.int32)
    grid[np.repeat(np.arange(groups), np.diff(indptr)), indices] = _words(blocks)
    return _bytes_of(grid.transpose(0, 2, 1), out_features)


def pack_nibbles(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two codes of 4 bits in a byte: of 16 columns, byte i has column i in its low half and column i + 8 in its high.

    Args:
        codes: int8 `[rows, columns]` in [-8, 7], `columns` a multiple of LANES.

    Returns:
        uint8 `[rows, columns / 2]`, C-contiguous.

    Raises:
        ValueError: if the codes are not int8, not two-dimensional, do not fit, or `columns` is not such a multiple.
    """
    rows, columns = _matrix_shape(codes, np.int8)
    if columns % LANES or (codes.size and (codes.min() < -8 or codes.max() > 7)):
        raise ValueError(f"4-bit codes lie in [-8, 7], in a multiple of {LANES} columns; there are {columns}")
    halves = (codes.view(np.uint8) & np.uint8(15)).reshape(rows, columns // LANES, 2, LANES // 2)
    return (halves[:, :, 0] | halves[:, :, 1] << np.uint8(4)).reshape(rows, columns // 2)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Undo `pack_nibbles`: int8 `[rows, columns]` from uint8 `[rows, columns / 2]`."""
    pairs = packed.view(np.int8).reshape(len(packed), -1, LANES // 2)
    halves = np.stack([pairs << 4 >> 4, pairs >> 4], axis=2)
    return halves.reshape(len(packed), 2 * packed.shape[1])


def _matrix_shape(weight: NDArray, dtype: type) -> tuple[int, int]:
    if weight.ndim != 2 or weight.dtype != dtype:
        raise ValueError(f"expected a {np.dtype(dtype)} matrix, not {weight.dtype} {list(weight.shape)}")
    return weight.shape


def panels_of(weight: NDArray) -> NDArray:
    """A matrix of bytes `[out, in]` as a view or copy `[padded(out) / 16, in / 4, 16, 4]`, zero in the padding."""
    panels = _padded_rows(weight).reshape(-1, LANES, weight.shape[1] // GROUP, GROUP)
    return panels.transpose(0, 2, 1, 3)


def _words(groups: NDArray[np.int8]) -> NDArray[np.int32]:
    """Each group of GROUP inputs as one number, so that NumPy moves it at once: int32 [...] of int8 [..., 4]."""
    return np.ascontiguousarray(groups).view(np.int32)[..., 0]


def _bytes_of(words: NDArray[np.int32], out_features: int | None) -> NDArray[np.int8]:
    """The first rows of a matrix from `_words` [..., outputs, in / 4] of it: int8 [out_features, in], C-contiguous."""
    rows = np.ascontiguousarray(words).view(np.int8)
    return rows.reshape(-1, rows.shape[-1])[:out_features]


def _padded_rows(weight: NDArray) -> NDArray:
    missing = padded(weight.shape[0]) - weight.shape[0]
    return np.pad(weight, ((0, missing), (0, 0))) if missing else weight
