"""Matrices that take four bits a weight in the file, and stand for an int8 matrix exactly.

Codes lie as the weights of an int8 matrix do (see layout.py), dense or in blocks, two to a byte, the even input in the
lower half. What a code means is its matrix's kind:

    int4        a whole number in [-7, 7], times the multiplier of its output and group of inputs
    int4-4x4    a whole number in [-7, 7], times the multiplier of its run of blocks and its output among the block's
    codebook    the place of a value in the codebook of its panel (k-means, Deep Compression, arXiv 1510.00149)

Kernels expand a few panels at a time, just before they multiply them (minibert.kernels.four_bits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from minibert.errors import FormatError
from minibert.format.constants import BLOCK, CODEBOOK_VALUES, GROUP, INT4_LIMIT, LANES, MAX_MULTIPLIER, RUN, padded
from minibert.format.layout import panels_of
from minibert.format.parts import Linear
from minibert.format.values import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Code of each half of a byte: two's complement of four bits.
_INT4 = np.array([*range(8), *range(-8, 0)], np.int8)


def four_bit_parts(kind: str) -> tuple[str, str]:
    """The tensors of a matrix of one of FOUR_BIT_KINDS that its weights are made of: the codes, what they mean."""
    return "codes", "multiplier" if kind == "int4" else "codebook"


def pack_int4(codes: NDArray[np.int8], multiplier: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lay out an int4 matrix.

    Args:
        codes: int8 `[out, in]`, each in [-7, 7], `in` a multiple of GROUP.
        multiplier: uint8 `[out, groups]`, each in [1, 18].

    Returns:
        The codes, uint8 `[P, in / 4, 16, 2]`, and the multipliers, uint8 `[P, groups, 16]`; outputs that are padding
        have the code 0 and the multiplier 1.
    """
    outputs = padded(len(multiplier))
    rows = np.ones((outputs, multiplier.shape[1]), np.uint8)
    rows[: len(multiplier)] = multiplier
    panels = rows.reshape(outputs // LANES, LANES, -1).transpose(0, 2, 1)
    return _pack((codes & 15).astype(np.uint8)), np.ascontiguousarray(panels)


def pack_codebook(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay out the codes of a codebook matrix: uint8 `[out, in]`, below 16, to uint8 `[P, in / 4, 16, 2]`."""
    return _pack(codes)


def pack_int4_blocks(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Lay out the codes of blocks.

    Args:
        codes: int8 `[B, 4, 4]`, each in [-7, 7], as `pack_blocks` cuts them out of a matrix.

    Returns:
        uint8 `[B, 4, 2]`, B rounded up to whole runs by blocks of zeros.
    """
    halves = (codes & 15).astype(np.uint8)
    packed = np.zeros((padded(len(codes), RUN), BLOCK, GROUP // 2), np.uint8)
    packed[: len(codes)] = halves[..., 0::2] | halves[..., 1::2] << np.uint8(4)
    return packed


def expand_four_bit(
    name: str, linear: Linear, tensors: Mapping[str, NDArray], out: NDArray[np.int8] | None = None
) -> NDArray[np.int8]:
    """The int8 matrix that a matrix of one of FOUR_BIT_KINDS stands for.

    Args:
        name: the matrix.
        linear: its description.
        tensors: those of the model, by name.
        out: int8 `[P, in / 4, 16, 4]`, written over; new memory if None.

    Returns:
        int8 `[P, in / 4, 16, 4]`, in the layout of an int8 matrix.
    """
    codes, meaning = (tensors[f"{name}.{part}"] for part in four_bit_parts(linear.kind))
    if out is None:
        out = np.empty((*codes.shape[:3], GROUP), np.int8)
    pairs = _pairs(_INT4)
    for panel, target in enumerate(out):
        if linear.kind == "codebook":
            pairs = _pairs(meaning[panel])
        # A byte is looked up as the two weights that it holds.
        np.take(pairs, codes[panel], out=target.view(np.int16), mode="clip")
        if linear.kind == "int4":
            multiplier = np.repeat(meaning[panel].view(np.int8), linear.group_size // GROUP, axis=0)
            target *= multiplier[: len(target), :, None]
    return out


def weight_sums(name: str, linear: Linear, tensors: Mapping[str, NDArray]) -> NDArray[np.int32]:
    """The sum of each output's weights, of a matrix of one of FOUR_BIT_KINDS whose file does not have them.

    Args:
        name: the matrix.
        linear: its description.
        tensors: those of the model, by name.

    Returns:
        int32 `[16 P]`.
    """
    sums = []
    for panel, codes in enumerate(tensors[f"{name}.codes"]):
        parts = {part: tensors[f"{name}.{part}"][panel : panel + 1] for part in four_bit_parts(linear.kind)}
        weights = expand_four_bit("", linear, {f".{part}": tensor for part, tensor in parts.items()})
        by_place = weights.reshape(len(codes), LANES * GROUP).sum(axis=0, dtype=np.int32)
        sums.append(by_place.reshape(LANES, GROUP).sum(axis=1, dtype=np.int32))
    return np.concatenate(sums)


def expand_blocks(
    name: str, linear: Linear, tensors: Mapping[str, NDArray], out: NDArray[np.int8] | None = None
) -> NDArray[np.int8]:
    """The int8 blocks that those of an int4-4x4 matrix stand for.

    Args:
        name: the matrix.
        linear: its description.
        tensors: those of the model, by name.
        out: int8 `[8 * runs, 4, 4]`, written over; new memory if None.

    Returns:
        int8 `[blocks, 4, 4]`, the blocks of an int8-4x4 matrix, which has the same index and starts.
    """
    codes, multiplier = tensors[f"{name}.codes"], tensors[f"{name}.multiplier"]
    if out is None:
        out = np.empty((*codes.shape[:2], GROUP), np.int8)
    np.take(_pairs(_INT4), codes, out=out.view(np.int16), mode="clip")
    runs = out.reshape(-1, RUN, BLOCK, GROUP)
    runs *= multiplier.view(np.int8)[:, None, :, None]
    return out[: linear.blocks]


def prove_multiplier(name: str, linear: Linear, multiplier: NDArray[np.uint8]) -> None:
    """Prove that the multipliers of an int4 or int4-4x4 matrix keep its weights within int8.

    Raises:
        FormatError: naming the tensor, and the first multiplier that is wrong.
    """
    if multiplier.size and not 1 <= multiplier.min() <= multiplier.max() <= MAX_MULTIPLIER:
        place = tuple(np.argwhere((multiplier < 1) | (multiplier > MAX_MULTIPLIER))[0])
        if linear.kind == "int4":
            what = f"output {LANES * place[0] + place[2]} and group {place[1]} of inputs"
        else:
            what = f"run {place[0]} of {RUN} blocks and output {place[1]} of {BLOCK}"
        raise FormatError(
            f"tensor {shown(f'{name}.multiplier')}: that of {what} is {multiplier[place]}, "
            f"not from 1 to {MAX_MULTIPLIER}"
        )


def prove_filling(name: str, linear: Linear, codes: NDArray[np.uint8]) -> None:
    """Prove that what fills up the last run of an int4-4x4 matrix is zero.

    Raises:
        FormatError: naming the tensor, and the first block that isn't.
    """
    filling = codes[linear.blocks :]
    if filling.any():
        block = linear.blocks + int(filling.any(axis=(1, 2)).argmax())
        raise FormatError(
            f"tensor {shown(f'{name}.codes')}: block {block} only fills up the last run, but is not zero; "
            f"the matrix has {linear.blocks} blocks"
        )


def prove_int4_codes(name: str, codes: NDArray[np.uint8]) -> None:
    """Prove that no code is -8, which has no counterpart.

    Raises:
        FormatError: naming the tensor.
    """
    if ((codes & 15) == 8).any() or ((codes >> 4) == 8).any():
        raise FormatError(f"tensor {shown(f'{name}.codes')} holds -8; codes lie in [-{INT4_LIMIT}, {INT4_LIMIT}]")


def _pack(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    panels = panels_of(values)
    return np.ascontiguousarray(panels[..., 0::2] | panels[..., 1::2] << np.uint8(4), np.uint8)


def _pairs(values: NDArray[np.int8]) -> NDArray[np.int16]:
    """int16 [256], for each byte the int8 values of its lower and upper half side by side in memory."""
    pairs = np.empty((CODEBOOK_VALUES, CODEBOOK_VALUES, 2), np.int8)
    pairs[..., 0], pairs[..., 1] = values[None, :], values[:, None]
    return pairs.reshape(-1, 2).view(np.int16).reshape(-1)
