"""Addresses of what a step reads beside its buffers: the file's tensors, and tables made for it, all kept alive."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from minibert.engine.memory import address, aligned
from minibert.format.constants import FOUR_BIT_KINDS
from minibert.format.four_bit import four_bit_parts, weight_sums
from minibert.format.layout import pack_int8
from minibert.format.parts import Linear
from minibert.reference.attention import bias_middle, window_biases
from minibert.reference.functions import rotary_table
from minibert.reference.linear import int8_weight


class Addresses:
    """Gives addresses, and holds on to the arrays behind them.

    Args:
        tensors: the file's tensors.
        widest: columns of the widest row.

    Attributes:
        used: the arrays whose addresses were given out.
        ones: address of `widest` float32 ones: the factor of rows whose codes have none, or that never become codes.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], widest: int) -> None:
        self.tensors = tensors
        self.used: list[np.ndarray] = []
        self._dense: dict[tuple[int, ...], int] = {}
        self._sums: dict[tuple[int, ...], int] = {}
        self.ones: int = self._of(np.ones(widest, np.float32))
        self._window_biases = cache(window_biases)
        self._rotary_table = cache(rotary_table)

    def _of(self, array: np.ndarray) -> int:
        self.used.append(array)
        return address(array)

    def tensor(self, name: str) -> int:
        """Address of a tensor of the file."""
        return self._of(self.tensors[name])

    def dense_copy(self, name: str, linear: Linear) -> int:
        """Address of a block-sparse matrix with all its zeros, packed as a dense one."""
        parts = tuple([id(self.tensors[f"{name}.{part}"]) for part in ("blocks", "index", "starts")])
        if parts not in self._dense:  # else layers that share their blocks would each have a copy
            self._dense[parts] = self._of(aligned(pack_int8(int8_weight(name, linear, self.tensors))))
        return self._dense[parts]

    def weight_sum(self, name: str, linear: Linear) -> int:
        """Address of the sums of a matrix's weights; files of older releases have none of matrices of four bits."""
        if linear.kind not in FOUR_BIT_KINDS or linear.weight_sum:
            return self.tensor(f"{name}.weight_sum")
        codes, decoder = (self.tensors[f"{name}.{part}"] for part in four_bit_parts(linear.kind))
        parts = (linear.group_size, id(codes), id(decoder))
        if parts not in self._sums:
            self._sums[parts] = self._of(aligned(weight_sums(name, linear, self.tensors)))
        return self._sums[parts]

    def biases(self, name: str) -> tuple[int, int]:
        """Address of the bias of distance 0 in a table of biases by head and distance, and bytes between heads."""
        table = self.tensors[name]
        return self._of(table) + 4 * bias_middle(table.shape[1]), table.strides[0]

    def biases_of_window(self, window: int) -> tuple[int, int]:
        """The same of biases that mask keys further away than `window`: one row for all heads."""
        table = self._window_biases(window)
        return self._of(table) + 4 * bias_middle(len(table)), 0

    def rotary(self, rotation: float | tuple[float, ...], head_size: int, positions: int) -> int:
        """Address of the cosines and sines by which queries and keys are rotated."""
        return self._of(self._rotary_table(rotation, head_size, positions))
