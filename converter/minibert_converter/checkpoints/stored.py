"""A tensor that still lies in a checkpoint's file: known by name, type and shape, read one at a time as float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minibert.errors import CheckpointError

#: Bytes of one element, by safetensors' names of the types. Only the FLOATS can become weights.
ITEM_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
#: Sizes of one tensor: weights have two.
MAX_DIMENSIONS = 8
FLOATS = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2"}
INTEGERS = {"I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U32": "u4", "U16": "u2", "U8": "u1"}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's elements lie. Whoever makes one has proved that they lie inside the file.

    Attributes:
        name: the checkpoint's name.
        file: the file that holds it.
        dtype: a name of safetensors, such as "F16".
        shape: the sizes.
        strides: steps in elements, one for each size, none of them negative.
        offset: first byte in the file.
        byte_order: "<" or ">".
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    byte_order: str = "<"

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take in the checkpoint."""
        return self.parameters * ITEM_SIZES[self.dtype]

    def read(self) -> npt.NDArray[np.float32]:
        """The values, widened or narrowed to float32, in a new C-contiguous array.

        The file is mapped, so no more than this one tensor is ever held twice.

        Raises:
            CheckpointError: the type is not a floating-point one, or a value is NaN or infinite.
        """
        if self.dtype not in FLOATS:
            raise CheckpointError(
                f"{self.file}: tensor {self.name!r} is stored as {self.dtype}; weights must be float32, float16 or "
                "bfloat16 (convert from the checkpoint as it was before quantization)"
            )
        if self.parameters == 0:
            return np.zeros(self.shape, np.float32)
        span = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        item = np.dtype(self.byte_order + FLOATS[self.dtype])
        flat = np.memmap(self.file, item, "r", self.offset, (span,))
        stored = np.lib.stride_tricks.as_strided(flat, self.shape, [stride * item.itemsize for stride in self.strides])
        values = self._widen(stored)
        if not np.isfinite(values).all():
            count = int(np.size(values) - np.isfinite(values).sum())
            raise CheckpointError(f"{self.file}: tensor {self.name!r} holds {count} values that are NaN or infinite")
        return values

    def changed(self, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> StoredTensor:
        """The tensor of what `change` makes of the values, when they are read."""
        return _Changed(**vars(self), before=self, change=change)

    def integers(self) -> npt.NDArray[np.int64]:
        """The values of a C-contiguous tensor of whole numbers, as int64.

        Raises:
            CheckpointError: the type is another one.
        """
        if self.dtype not in INTEGERS or self.strides != contiguous_strides(self.shape):
            raise CheckpointError(f"{self.file}: tensor {self.name!r} is stored as {self.dtype}, not as whole numbers")
        item = np.dtype(self.byte_order + INTEGERS[self.dtype])
        return np.memmap(self.file, item, "r", self.offset, self.shape).astype(np.int64)

    def _widen(self, stored: npt.NDArray) -> npt.NDArray[np.float32]:
        if self.dtype == "BF16":
            # A bfloat16 is the upper half of a float32; NumPy has no such type of its own.
            bits = stored.astype(np.uint32, order="C")
            bits <<= 16
            return bits.view(np.float32)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused above
            return stored.astype(np.float32, order="C")


@dataclass(frozen=True)
class _Changed(StoredTensor):
    """See `StoredTensor.changed`."""

    _: KW_ONLY
    before: StoredTensor
    change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

    def read(self) -> npt.NDArray[np.float32]:
        """The changed values."""
        return self.change(self.before.read())


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps in elements of a C-contiguous tensor."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
