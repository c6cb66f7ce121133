"""Matrix products of the reference engine: exact integers, or float32 through NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minibert.format.constants import BLOCK_KINDS, FOUR_BIT_KINDS
from minibert.format.four_bit import expand_blocks, expand_four_bit
from minibert.format.layout import unpack_blocks, unpack_float32, unpack_int8
from minibert.format.parts import Linear

#: 253 * 127 * EXACT < 2**24: so many products of codes add up exactly in float32, whatever their order.
EXACT = 512


def integer_product(codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """codes @ weight.T with exact int32 sums, at the speed of a float32 BLAS.

    Args:
        codes: int8 or int32 [rows, in], magnitudes at most 253: codes, or what is left without their zero points.
        weight: int8 [out, in], magnitudes at most 127.

    Returns:
        int32 [rows, out].
    """
    total = np.zeros((len(codes), len(weight)), np.int32)
    for start in range(0, weight.shape[1], EXACT):
        part = slice(start, start + EXACT)
        total += (codes[:, part].astype(np.float32) @ weight[:, part].astype(np.float32).T).astype(np.int32)
    return total


def int8_weight(name: str, linear: Linear, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The int8 weights [padded out, in] of a linear, however they are stored."""
    if linear.kind in BLOCK_KINDS:
        four_bits = linear.kind == "int4-4x4"
        blocks = expand_blocks(name, linear, tensors) if four_bits else tensors[f"{name}.blocks"]
        return unpack_blocks(blocks, tensors[f"{name}.index"], tensors[f"{name}.starts"], linear.in_features)
    if linear.kind in FOUR_BIT_KINDS:
        return unpack_int8(expand_four_bit(name, linear, tensors))
    return unpack_int8(tensors[f"{name}.weight"])


def apply_int8(
    codes: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
    name: str,
    linear: Linear,
    tensors: Mapping[str, np.ndarray],
) -> np.ndarray:
    """(sum * scale of the row) * scale of the output + bias: float32 [rows, padded out].

    `codes`, `scales` and `zeros` are what `functions.quantize` returns.
    """
    total = integer_product(codes - zeros[:, None], int8_weight(name, linear, tensors))
    return (total.astype(np.float32) * scales[:, None]) * tensors[f"{name}.scale"] + tensors[f"{name}.bias"]


def apply_float32(x: np.ndarray, name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """X W^T + b in float32: [rows, padded out]."""
    return x @ unpack_float32(tensors[f"{name}.weight"]).T + tensors[f"{name}.bias"]
