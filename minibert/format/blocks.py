"""The proof that a block-sparse matrix stays within itself.

Its indices and indptr are the only numbers of a file's contents that a kernel turns into addresses, so they are proven
number by number, before anybody else sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minibert.errors import FormatError
from minibert.format.constants import BLOCK, GROUP
from minibert.format.parts import Linear
from minibert.format.values import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prove_blocks(name: str, linear: Linear, indices: NDArray[np.uint16], indptr: NDArray[np.int32]) -> None:
    """Prove that every block of a matrix lies within it, and none twice.

    Args:
        name: the matrix, for the message.
        linear: its sizes, proven.
        indices: uint16 `[linear.blocks]`.
        indptr: int32 `[padded(out_features) / 4 + 1]`.

    Raises:
        FormatError: naming the tensor, and the first group of 4 outputs that is wrong.
    """
    _prove_indptr(f"tensor {shown(f'{name}.starts')}", linear, indptr)
    _prove_indices(f"tensor {shown(f'{name}.index')}", linear, indices, indptr)


def block_sums(blocks: NDArray[np.int8], indptr: NDArray[np.int32]) -> NDArray[np.int32]:
    """The sum of each output's weights.

    Args:
        blocks: int8 `[B, 4, 4]`.
        indptr: int32 `[G + 1]`, proven.

    Returns:
        int32 `[4 G]`.
    """
    running = np.zeros((len(blocks) + 1, BLOCK), np.int64)
    np.cumsum(blocks.sum(axis=2, dtype=np.int64), axis=0, out=running[1:])
    return (running[indptr[1:]] - running[indptr[:-1]]).astype(np.int32).reshape(-1)


def _prove_indptr(tensor: str, linear: Linear, indptr: NDArray[np.int32]) -> None:
    """Groups follow one another from block 0 to the last, and those of padding outputs have none."""
    blocks = linear.blocks
    if indptr[0] != 0:
        raise FormatError(f"{tensor}: group 0 of {BLOCK} outputs begins at block {indptr[0]}, not 0")
    ends = indptr[1:]
    beyond = (ends < 0) | (ends > blocks)
    if beyond.any():
        group = int(beyond.argmax())
        raise FormatError(f"{tensor}: group {group} of {BLOCK} outputs ends at block {ends[group]} of {blocks}")
    falling = ends < indptr[:-1]  # compared, not subtracted: a difference could overflow
    if falling.any():
        group = int(falling.argmax())
        raise FormatError(
            f"{tensor}: group {group} of {BLOCK} outputs begins at block {indptr[group]}, ends at block {ends[group]}"
        )
    if ends[-1] != blocks:
        raise FormatError(f"{tensor}: group {ends.size - 1}, the last, ends at block {ends[-1]}, not {blocks}")
    real = -(-linear.out_features // BLOCK)
    if indptr[real] != blocks:
        group = int((ends[real:] > indptr[real]).argmax()) + real
        raise FormatError(
            f"{tensor}: group {group} of {BLOCK} outputs has blocks, but the matrix has {linear.out_features} outputs"
        )


def _prove_indices(tensor: str, linear: Linear, indices: NDArray[np.uint16], indptr: NDArray[np.int32]) -> None:
    """Within the inputs, and strictly rising within each group of outputs."""
    if not indices.size:
        return
    columns = linear.in_features // GROUP
    if indices.max() >= columns:
        block = int((indices >= columns).argmax())
        raise FormatError(
            f"{tensor}: block {block}, of group {_group_of(block, indptr)} of {BLOCK} outputs, is at the group of "
            f"inputs {indices[block]}; the matrix has {columns}"
        )
    rising = indices[1:] > indices[:-1]
    first = indptr[1:-1]
    rising[first[(first > 0) & (first < indices.size)] - 1] = True  # a group's first block follows nothing
    if not rising.all():
        block = int(rising.argmin()) + 1
        found = "comes twice" if indices[block] == indices[block - 1] else f"comes behind {indices[block - 1]}"
        raise FormatError(
            f"{tensor}: block {block}, of group {_group_of(block, indptr)} of {BLOCK} outputs: the group of inputs "
            f"{indices[block]} {found}; they must rise"
        )


def _group_of(block: int, indptr: NDArray[np.int32]) -> int:
    """The group of outputs that a block belongs to, once indptr is proven."""
    return int(np.searchsorted(indptr, block, side="right")) - 1
