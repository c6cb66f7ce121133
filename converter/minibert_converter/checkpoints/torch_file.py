"""Tensors of a pytorch_model.bin, without PyTorch and without running what the pickle inside asks to run.

torch.save writes a zip archive: `*/data.pkl` is a pickle of a dict from names to tensors, and `*/data/KEY` holds the
raw elements of a storage, not compressed. A pickle is a program: it may name any function and call it. Here only the
opcodes and the few names that describe tensors are accepted, and none of those names leads to real code: each
becomes a record, so that the worst a hostile file can do is to be refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.stored import ITEM_SIZES, StoredTensor

#: Names and shapes only; a BERT's take some 30 KB.
MAX_PICKLE_BYTES = 64 << 20

STORAGE_TYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip

#: What a pickle of a dict of tensors consists of. Anything else (INST, OBJ, NEWOBJ, EXT1, ...) is refused unread.
OPCODES = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Storage:
    """The raw elements `data/key`."""

    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage: first element, sizes, steps in elements."""

    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Stands for torch._utils._rebuild_tensor_v2. No attribute can be set on it, by BUILD or otherwise."""

    __slots__ = ()

    def __call__(self, storage: Any, first: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        numbers = (first, *shape, *strides)
        if not isinstance(storage, _Storage) or any(type(n) is not int or not 0 <= n < 1 << 48 for n in numbers):
            raise pickle.UnpicklingError("a tensor's record is malformed")
        if len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor has not as many strides as sizes")
        return _Tensor(storage, first, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for torch._utils._rebuild_parameter: a tensor that was trained is a tensor."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> _Tensor:
        if not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError("a parameter is not a tensor")
        return tensor


class _RecordUnpickler(pickle.Unpickler):
    """Knows the names that describe tensors, and no other."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a tensor")

    def persistent_load(self, pid: Any, /) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), _, int()) if dtype in ITEM_SIZES:
                return _Storage(dtype, key)
        raise pickle.UnpicklingError("a storage's record is malformed")


def torch_contents(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the file, by name, unread.

    Raises:
        CheckpointError: the file is not a zip archive of torch.save, or its pickle holds anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: not a zip archive as torch.save writes since version 1.6; files of older versions can only be "
            "read by executing them, so load it with torch and save it as model.safetensors"
        ) from error
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # of a damaged archive zipfile raises much beside BadZipFile: EOFError, RuntimeError, ...
        raise CheckpointError(f"{path}: cannot be read ({error!r})") from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, StoredTensor]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{path}: a zip archive, but not one of torch.save (no single data.pkl in it)")
    folder = pickles[0].removesuffix("data.pkl")
    if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(f"{path}: {pickles[0]} is larger than {MAX_PICKLE_BYTES} bytes")
    byte_order = "<"
    if (order := entries.get(folder + "byteorder")) is not None and order.file_size < 16:
        byte_order = ">" if archive.read(order).strip() == b"big" else "<"

    contents = {}
    for name, tensor in _read_records(path, archive.read(pickles[0])).items():
        entry = entries.get(f"{folder}data/{tensor.storage.key}")
        if entry is None:
            raise CheckpointError(f"{path}: the elements of tensor {name!r} are missing")
        start = _data_offset(path, entry)
        dtype = tensor.storage.dtype
        item_size = ITEM_SIZES[dtype]
        count = math.prod(tensor.shape)
        reach = tensor.first + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)) + 1
        # The count is held to the storage too: strides of zero could repeat one element without end.
        if count and max(reach, count) * item_size > entry.file_size:
            raise CheckpointError(f"{path}: tensor {name!r} reaches beyond its elements")
        offset = start + tensor.first * item_size
        contents[name] = StoredTensor(name, path, dtype, tensor.shape, tensor.strides, offset, byte_order)
    return contents


def _read_records(path: Path, data: bytes) -> dict[str, _Tensor]:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in OPCODES:
                raise pickle.UnpicklingError(f"it uses the operation {opcode.name}")
            # The memo is an array inside the unpickler: an index far beyond the data would only exhaust memory.
            if opcode.name == "LONG_BINPUT" and (argument is None or argument > len(data)):
                raise pickle.UnpicklingError("a memo index is absurd")
        state = _RecordUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # whatever a broken pickle raises, of many kinds
        raise CheckpointError(
            f"{path}: refused, because its pickle is not a plain dict of tensors: {error}; "
            "load it with torch where you trust it, and save it as model.safetensors"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a dict of tensors")
    for name, value in state.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{path}: holds an entry whose name is not text")
        if not isinstance(value, _Tensor):
            raise CheckpointError(f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor")
    return dict(state)


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where the elements of a storage start in the file, which must hold all of them, not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise CheckpointError(f"{path}: {entry.filename} is compressed or encrypted, which torch.save never does")
    with open(path, "rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise CheckpointError(f"{path}: {entry.filename} has no header of its own")
        name_size = int.from_bytes(header[26:28], "little")
        extra_size = int.from_bytes(header[28:30], "little")
        start = entry.header_offset + 30 + name_size + extra_size
        if start + entry.file_size > file.seek(0, io.SEEK_END):
            raise CheckpointError(f"{path}: truncated inside {entry.filename}")
    return start
