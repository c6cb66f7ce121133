"""Tensors of a .safetensors file: the safetensors library proves the file, the header tells where each tensor lies."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.stored import ITEM_SIZES, StoredTensor, contiguous_strides


def safetensors_contents(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the file, by name, unread.

    The library reads NumPy arrays only of types that NumPy has, which bfloat16 is not, so the bytes are mapped here;
    but only after the library has accepted the header, which proves every offset and size.

    Raises:
        CheckpointError: the file is not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
        with open(path, "rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_size))
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    contents = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in ITEM_SIZES:
            raise CheckpointError(f"{path}: tensor {name!r} has a type that is not known here, {entry['dtype']}")
        shape = tuple(entry["shape"])
        start = 8 + header_size + entry["data_offsets"][0]
        contents[name] = StoredTensor(name, path, entry["dtype"], shape, contiguous_strides(shape), start)
    return contents
