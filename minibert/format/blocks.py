"""The proof that a block-sparse matrix stays within itself.

Its index and starts are the only numbers of a file's contents that a kernel turns into addresses, so they are proven
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


def prove_blocks(name: str, linear: Linear, index: NDArray[np.uint16], starts: NDArray[np.int32]) -> None:
    """Prove that every block of a matrix lies within it, and none twice.

    Args:
        name: the matrix, for the message.
        linear: its sizes, proven.
        index: uint16 `[linear.blocks]`.
        starts: int32 `[padded(out_features) / 4 + 1]`.

    Raises:
        FormatError: naming the tensor, and the first group of 4 outputs that is wrong.
    """
    _prove_starts(f"tensor {shown(f'{name}.starts')}", linear, starts)
    _prove_index(f"tensor {shown(f'{name}.index')}", linear, index, starts)


def block_sums(blocks: NDArray[np.int8], starts: NDArray[np.int32]) -> NDArray[np.int32]:
    """The sum of each output's weights.

    Args:
        blocks: int8 `[B, 4, 4]`.
        starts: int32 `[G + 1]`, proven.

    Returns:
        int32 `[4 G]`.
    """
    running = np.zeros((len(blocks) + 1, BLOCK), np.int64)
    np.cumsum(blocks.sum(axis=2, dtype=np.int64), axis=0, out=running[1:])
    return (running[starts[1:]] - running[starts[:-1]]).astype(np.int32).reshape(-1)


def _prove_starts(tensor: str, linear: Linear, starts: NDArray[np.int32]) -> None:
    """Groups follow one another from block 0 to the last, and those of padding outputs have none."""
    blocks = linear.blocks
    if starts[0] != 0:
        raise FormatError(f"{tensor}: group 0 of {BLOCK} outputs begins at block {starts[0]}, not 0")
    ends = starts[1:]
    beyond = (ends < 0) | (ends > blocks)
    if beyond.any():
        group = int(beyond.argmax())
        raise FormatError(f"{tensor}: group {group} of {BLOCK} outputs ends at block {ends[group]} of {blocks}")
    falling = ends < starts[:-1]  # compared, not subtracted: a difference could overflow
    if falling.any():
        group = int(falling.argmax())
        raise FormatError(
            f"{tensor}: group {group} of {BLOCK} outputs begins at block {starts[group]}, ends at block {ends[group]}"
        )
    if ends[-1] != blocks:
        raise FormatError(f"{tensor}: group {ends.size - 1}, the last, ends at block {ends[-1]}, not {blocks}")
    real = -(-linear.out_features // BLOCK)
    if starts[real] != blocks:
        group = int((ends[real:] > starts[real]).argmax()) + real
        raise FormatError(
            f"{tensor}: group {group} of {BLOCK} outputs has blocks, but the matrix has {linear.out_features} outputs"
        )


def _prove_index(tensor: str, linear: Linear, index: NDArray[np.uint16], starts: NDArray[np.int32]) -> None:
    """Within the inputs, and strictly rising within each group of outputs."""
    if not index.size:
        return
    columns = linear.in_features // GROUP
    if index.max() >= columns:
        block = int((index >= columns).argmax())
        raise FormatError(
            f"{tensor}: block {block}, of group {_group_of(block, starts)} of {BLOCK} outputs, is at the group of "
            f"inputs {index[block]}; the matrix has {columns}"
        )
    rising = index[1:] > index[:-1]
    first = starts[1:-1]
    rising[first[(first > 0) & (first < index.size)] - 1] = True  # a group's first block follows nothing
    if not rising.all():
        block = int(rising.argmin()) + 1
        found = "comes twice" if index[block] == index[block - 1] else f"comes behind {index[block - 1]}"
        raise FormatError(
            f"{tensor}: block {block}, of group {_group_of(block, starts)} of {BLOCK} outputs: the group of inputs "
            f"{index[block]} {found}; they must rise"
        )


def _group_of(block: int, starts: NDArray[np.int32]) -> int:
    """The group of outputs that a block belongs to, once starts are proven."""
    return int(np.searchsorted(starts, block, side="right")) - 1
