"""Matrices of the reference engine: unpacked once, multiplied exactly or in float32 through NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from minibert.format.constants import BLOCK_KINDS, FOUR_BIT_KINDS, padded
from minibert.format.four_bit import expand_blocks, expand_four_bit
from minibert.format.layout import unpack_blocks, unpack_float32, unpack_int8
from minibert.format.parts import Linear

#: float32 holds every whole number up to this one. A sum of whole numbers of which no part passes it is exact in any
#: order, for there is nothing to round; nor does a fused multiply-add then differ from a product and a sum.
EXACT = 1 << 24
#: The largest magnitude of a code, with or without its zero point.
LARGEST_CODE = 255
#: So many inputs add up exactly, whatever the int8 weights are: 255 * 128 * 512 < 2**24.
EXACT_INPUTS = 512
#: Int8 weights that are float32 at a time: out of a second-level cache that is faster than all of them out of memory.
PIECE = 1 << 18
#: For so few rows, pieces of which OpenBLAS makes so few products that it takes them as they lie (up to 10**6, on CPUs
#: where it has kernels for that) instead of copying them first, and does not wake its threads.
FEW_ROWS, FEW_PRODUCTS = 16, 800_000
#: So many rows outweigh where weights come from: larger pieces wake BLAS's threads less often. And they stay side by
#: side in memory, as products leave them, while fewer are moved one behind another.
MANY_ROWS, MANY_PIECE = 64, 1 << 20
#: Bytes that a model's unpacked matrices take at most: those of 12 int8 layers of hidden size 768 fit.
KEPT_BYTES = 96 << 20
#: The tensors that weights are made of, whatever the kind of the matrix.
_PARTS = ("weight", "codes", "multiplier", "codebook", "blocks", "index", "starts")


def integer_product(codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """codes @ weight.T with exact int32 sums, at the speed of a float32 BLAS.

    Args:
        codes: [rows, in], whole numbers of any type, magnitudes at most LARGEST_CODE.
        weight: int8 [out, in].

    Returns:
        int32 [rows, out], rows side by side in memory.
    """
    columns = np.ascontiguousarray(codes.T, np.float32)
    sums = np.zeros((len(weight), len(codes)), np.int32)
    for outputs, piece in _pieces(weight, len(codes)):
        for start in range(0, len(columns), EXACT_INPUTS):
            inputs = slice(start, start + EXACT_INPUTS)
            sums[outputs] += (piece[:, inputs] @ columns[inputs]).astype(np.int32)
    return sums.T


def rounded_product(codes: np.ndarray, weight: np.ndarray, exact: bool) -> np.ndarray:
    """`integer_product`, each sum rounded to float32; it is faster if all inputs are known to add up `exact`ly."""
    if not exact:
        return integer_product(codes, weight).astype(np.float32)
    columns = np.ascontiguousarray(codes.T, np.float32)
    sums = np.empty((len(weight), len(codes)), np.float32)
    for outputs, piece in _pieces(weight, len(codes)):
        np.matmul(piece, columns, out=sums[outputs])
    return sums.T


def adds_up_exactly(weight: np.ndarray) -> bool:
    """Whether float32 adds up all inputs of an int8 matrix exactly, whatever the codes are.

    No part of an output's sum passes the sum of its weights' magnitudes times LARGEST_CODE, which for most matrices is
    small enough.
    """
    # Magnitudes add up exactly themselves: 128 * MAX_WIDTH < 2**24.
    largest = max(int(np.abs(piece, out=piece).sum(axis=1).max()) for _, piece in _pieces(weight, FEW_ROWS))
    return largest * LARGEST_CODE < EXACT


def _pieces(weight: np.ndarray, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Outputs of an int8 matrix, some after others, in float32 that the next ones write over."""
    numbers = MANY_PIECE if rows >= MANY_ROWS else PIECE
    if rows <= FEW_ROWS:
        numbers = min(numbers, FEW_PRODUCTS // max(rows, 1))
    together = max(1, numbers // weight.shape[1])
    memory = np.empty((min(together, len(weight)), weight.shape[1]), np.float32)
    for first in range(0, len(weight), together):
        outputs = slice(first, min(first + together, len(weight)))
        piece = memory[: outputs.stop - first]
        piece[:] = weight[outputs]
        yield outputs, piece


def int8_weight(name: str, linear: Linear, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The int8 weights [padded out, in] of a linear, however they are stored."""
    if linear.kind in BLOCK_KINDS:
        four_bits = linear.kind == "int4-4x4"
        blocks = expand_blocks(name, linear, tensors) if four_bits else tensors[f"{name}.blocks"]
        return unpack_blocks(blocks, tensors[f"{name}.index"], tensors[f"{name}.starts"], linear.in_features)
    if linear.kind in FOUR_BIT_KINDS:
        return unpack_int8(expand_four_bit(name, linear, tensors))
    return unpack_int8(tensors[f"{name}.weight"])


class Matrix(NamedTuple):
    """The weights of a linear [padded out, in], float32 or int8; and whether all inputs of int8 ones add up exactly."""

    weight: np.ndarray
    exact: bool


class Weights:
    """Each matrix by its name, for passes that go through all of them in one order.

    If the one that was not used for longest made room for the next, none would be there when its turn comes. So those
    that come first stay, and the others are unpacked in each pass. Which ones stay is known from the start: threads
    that meet here at worst make the same matrix twice, and wait for nothing that a fork could catch half-done.

    Args:
        linears: the matrices.
        tensors: those of the model by name, in the file's layouts.
        most_bytes: what all that stays may take.
    """

    def __init__(
        self, linears: Mapping[str, Linear], tensors: Mapping[str, np.ndarray], most_bytes: int = KEPT_BYTES
    ) -> None:
        self.tensors = tensors
        self._linears = linears
        self._kept: dict[Hashable, Matrix] = {}
        self._keys = {name: self._key(name) for name in linears}
        self._stay: set[Hashable] = set()
        for key, size in {self._keys[name]: _size(linear) for name, linear in linears.items()}.items():
            if size <= most_bytes:
                self._stay.add(key)
                most_bytes -= size

    def __getitem__(self, name: str) -> Matrix:
        """The matrix of that name."""
        key = self._keys[name]
        if key not in self._stay:
            weight = self._unpacked(name)
            return Matrix(weight, weight.shape[1] <= EXACT_INPUTS)
        if key not in self._kept:
            weight = self._unpacked(name)
            self._kept[key] = Matrix(weight, weight.dtype == np.int8 and adds_up_exactly(weight))
        return self._kept[key]

    def _unpacked(self, name: str) -> np.ndarray:
        linear = self._linears[name]
        if linear.kind == "float32":
            return unpack_float32(self.tensors[f"{name}.weight"])
        return int8_weight(name, linear, self.tensors)

    def _key(self, name: str) -> Hashable:
        """What tells a matrix from others: layers that share one in the file share it here."""
        linear = self._linears[name]
        parts = [id(self.tensors.get(f"{name}.{part}")) for part in _PARTS]
        return linear.kind, linear.group_size, *parts


def _size(linear: Linear) -> int:
    return (4 if linear.kind == "float32" else 1) * padded(linear.out_features) * linear.in_features


def apply_int8(codes: np.ndarray, scales: np.ndarray, name: str, weights: Weights) -> np.ndarray:
    """(sum * scale of the row) * scale of the output + bias: float32 [rows, padded out].

    `codes` and `scales` are what `functions.quantize` returns, the codes without their zero points.
    """
    sums = rounded_product(codes, *weights[name])
    rows = np.multiply(sums, scales[:, None], order="F" if len(sums) >= MANY_ROWS else "C")
    rows *= weights.tensors[f"{name}.scale"]
    rows += weights.tensors[f"{name}.bias"]
    return rows


def apply_float32(x: np.ndarray, name: str, weights: Weights) -> np.ndarray:
    """X W^T + b in float32: [rows, padded out]."""
    rows = np.ascontiguousarray(x) @ weights[name].weight.T
    rows += weights.tensors[f"{name}.bias"]
    return rows
