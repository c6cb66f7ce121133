"""Tensors of a .safetensors file: the safetensors library proves the file, the header tells where each tensor lies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from minibert.errors import CheckpointError
from minibert.format.reader import MAX_HEADER_BYTES
from minibert.format.values import parse_json, shown
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.stored import ITEM_SIZES, MAX_DIMENSIONS, StoredTensor, contiguous_strides


def safetensors_contents(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the file, by name, unread.

    The library reads NumPy arrays only of types that NumPy has, which bfloat16 is not, so the bytes are mapped here;
    but only after the library has accepted the header, which proves every offset and size.

    Raises:
        CheckpointError: the file is not a whole safetensors file.
    """
    try:
        with open(path, "rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if header_size > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {header_size} bytes; the limit is {MAX_HEADER_BYTES}")
            header = parse_json(file.read(header_size).decode(), "the header")
        with safe_open(path, framework="numpy"):
            pass
        with refusing(path):
            size = path.stat().st_size - 8 - header_size
            return {
                name: _stored(name, path, entry, size, 8 + header_size)
                for name, entry in header.items()
                if name != "__metadata__"
            }
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _stored(name: str, path: Path, entry: Any, size: int, data: int) -> StoredTensor:
    """One tensor, which lies within the `size` bytes of the file from `data` on."""
    dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if dtype not in ITEM_SIZES:
        raise CheckpointError(f"{path}: tensor {shown(name)} has a type that is not known here, {shown(dtype)}")
    if len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{path}: tensor {shown(name)} has {len(shape)} sizes; the limit is {MAX_DIMENSIONS}")
    if not 0 <= begin <= end <= size or end - begin != math.prod(shape) * ITEM_SIZES[dtype]:
        raise CheckpointError(f"{path}: tensor {shown(name)} does not lie within the file")
    return StoredTensor(name, path, dtype, shape, contiguous_strides(shape), data + begin)
