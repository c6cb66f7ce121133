"""Writes what torch.save writes, without torch: the pickle is put together opcode by opcode."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def _ints(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_int(value) for value in values) + b"t"


def tensor_record(
    storage: str, key: str, shape: tuple[int, ...], strides: tuple[int, ...], first: int = 0, count: int = 0
) -> bytes:
    """Opcodes that rebuild one tensor as torch's own pickles do."""
    name = b"(" + _text("storage") + b"ctorch\n" + storage.encode() + b"\n" + _text(key) + _text("cpu") + _int(count)
    arguments = name + b"tQ" + _int(first) + _ints(shape) + _ints(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state_dict(records: dict[str, bytes]) -> bytes:
    """A pickle of an OrderedDict from names to records, with the `_metadata` that torch hangs on it."""
    entries = b"".join(_text(name) + record for name, record in records.items())
    metadata = b"}(" + _text("_metadata") + b"ccollections\nOrderedDict\n)Rub"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + entries + b"u" + metadata + b"."


def write_archive(path: Path, data: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for key, elements in storages.items():
            archive.writestr(f"archive/data/{key}", elements)
        archive.writestr("archive/version", b"3\n")
    return path


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def write_torch_file(path: Path, tensors: dict[str, np.ndarray], *, bfloat16: bool = False) -> Path:
    """A pytorch_model.bin of these tensors; float32 ones may be stored as bfloat16, by cutting them off."""
    records, storages = {}, {}
    for index, (name, values) in enumerate(tensors.items()):
        storage, elements = STORAGES[str(values.dtype)], values.tobytes()
        if bfloat16 and values.dtype == np.float32:
            storage = "BFloat16Storage"
            elements = (np.ascontiguousarray(values).view(np.uint32) >> 16).astype("<u2").tobytes()
        records[name] = tensor_record(
            storage, str(index), values.shape, contiguous_strides(values.shape), count=values.size
        )
        storages[str(index)] = elements
    return write_archive(path, state_dict(records), storages)


def calls(module: str, name: str) -> bytes:
    """A pickle that asks for `module.name("true")` to be called, in a dict."""
    call = f"c{module}\n{name}\n".encode() + b"(" + _text("true") + b"tR"
    pickle_bytes = b"\x80\x02}(" + _text("x") + call + b"u."
    assert pickle.PROTO in pickle_bytes
    return pickle_bytes
