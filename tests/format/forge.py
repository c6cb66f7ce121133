"""A forge that takes a real file apart and puts it together as a hostile one."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import read_model
from minibert.format.reader import DTYPES


class Forge:
    """A real file taken apart: spoil `header`, `metadata`, `config` (plain JSON) or `data`, then `refused` reads it."""

    def __init__(self, source: bytes, folder: Path) -> None:
        length = int.from_bytes(source[:8], "little")
        self.header = json.loads(source[8 : 8 + length])
        self.metadata = self.header.pop("__metadata__")
        self.config = json.loads(self.metadata["config"])
        self.data = bytearray(source[8 + length :])
        self.path = folder / "forged.safetensors"

    def tensor(self, name: str) -> np.ndarray:
        """The contents of a tensor, to be written over."""
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        return np.frombuffer(self.data, np.uint8)[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])

    def put(self, changes: Mapping[str, np.ndarray | None]) -> None:
        """Tensors become others, of any size, or are taken out; all are laid out anew."""
        order = sorted(self.header, key=lambda name: self.header[name]["data_offsets"])
        tensors = {name: self.tensor(name) for name in order if not name.endswith(".padding")}
        tensors |= {name: tensor for name, tensor in changes.items() if tensor is not None}
        names = {dtype: name for name, dtype in DTYPES.items()}
        self.header, self.data = {}, bytearray()
        last = "tokenizer.json"  # needs no padding
        for name in [*(name for name in tensors if name != last and changes.get(name, self) is not None), last]:
            parts = {name: tensors[name]}
            if name != last and (missing := -tensors[name].nbytes % 64):
                itemsize = tensors[name].itemsize
                parts[f"{name}.padding"] = np.zeros(missing // itemsize, tensors[name].dtype)
            for part, values in parts.items():
                offsets = [len(self.data), len(self.data) + values.nbytes]
                self.data += values.tobytes()
                self.header[part] = {"dtype": names[values.dtype], "shape": list(values.shape), "data_offsets": offsets}

    def header_text(self) -> str:
        metadata = dict(self.metadata)
        if "config" in metadata and self.config is not None:
            metadata["config"] = json.dumps(self.config)
        return json.dumps({"__metadata__": metadata, **self.header})

    def bytes(self, header_text: str | None = None) -> bytes:
        text = (self.header_text() if header_text is None else header_text).encode()
        text += b" " * (-(8 + len(text)) % 64)
        return len(text).to_bytes(8, "little") + text + bytes(self.data)

    def read(self, content: bytes | None = None):
        self.path.write_bytes(self.bytes() if content is None else content)
        return read_model(self.path)

    def refused(self, *words: str, content: bytes | None = None) -> None:
        """The file is refused, and the message names the file and every one of `words`."""
        with pytest.raises(FormatError) as caught:
            self.read(content)
        message = str(caught.value)
        assert message.startswith(f"{self.path}: ")
        for word in words:
            assert word in message
        assert len(message) < 1000

    def copy(self) -> Forge:
        return copy.deepcopy(self)
