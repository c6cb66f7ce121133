"""Tensors of a pytorch_model.bin, without PyTorch and without running what the pickle inside asks to run.

torch.save writes a zip archive: `*/data.pkl` is a pickle of a dict from names to tensors (see `pickled`), and
`*/data/KEY` holds the raw elements of a storage. Nothing in it is compressed, so nothing can be larger than the file.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

from minibert.errors import CheckpointError
from minibert.format.values import shown
from minibert_converter.checkpoints.pickled import TensorRecord, tensor_records
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.stored import ITEM_SIZES, StoredTensor

#: Names and shapes only; a BERT's take some 30 KB.
MAX_PICKLE_BYTES = 2 << 20
#: How many times the tensors may show the bytes of the file: names may share elements, but not to grow out of nothing.
MAX_SHARING = 8


def torch_contents(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the file, by name, unread.

    Raises:
        CheckpointError: the file is not a zip archive of torch.save, or its pickle holds anything but tensors.
    """
    with refusing(path):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise CheckpointError(
                f"{path}: not a zip archive as torch.save writes since version 1.6; files of older versions can only "
                "be read by executing them, so load it with torch and save it as model.safetensors"
            ) from error
        with archive:
            return _read_archive(path, archive)


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, StoredTensor]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{path}: a zip archive, but not one of torch.save (no single data.pkl in it)")
    folder = pickles[0].removesuffix("data.pkl")
    byte_order = "<"
    if (order := entries.get(folder + "byteorder")) is not None:
        byte_order = ">" if _read_entry(path, archive, order, 16).strip() == b"big" else "<"

    contents = {}
    left = MAX_SHARING * path.stat().st_size
    data = _read_entry(path, archive, entries[pickles[0]], MAX_PICKLE_BYTES)
    for name, tensor in _read_records(path, data).items():
        entry = entries.get(f"{folder}data/{tensor.storage.key}")
        if entry is None:
            raise CheckpointError(f"{path}: the elements of tensor {shown(name)} are missing")
        start = _data_offset(path, entry)
        dtype = tensor.storage.dtype
        item_size = ITEM_SIZES[dtype]
        count = math.prod(tensor.shape)
        reach = tensor.first + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)) + 1
        # The count is held to the storage too: strides of zero could repeat one element without end.
        if count and max(reach, count) * item_size > entry.file_size:
            raise CheckpointError(f"{path}: tensor {shown(name)} reaches beyond its elements")
        left -= count * item_size
        if left < 0:
            raise CheckpointError(
                f"{path}: its tensors are together more than {MAX_SHARING} times as large as the file"
            )
        offset = start + tensor.first * item_size
        contents[name] = StoredTensor(name, path, dtype, tensor.shape, tensor.strides, offset, byte_order)
    return contents


def _read_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of a small entry, which are as many in the file."""
    _data_offset(path, entry)
    if entry.file_size > most:
        raise CheckpointError(f"{path}: {shown(entry.filename)} has {entry.file_size} bytes; the limit is {most}")
    return archive.read(entry)


def _read_records(path: Path, data: bytes) -> dict[str, TensorRecord]:
    try:
        return tensor_records(data)
    except Exception as error:  # whatever a broken pickle raises, of many kinds
        raise CheckpointError(
            f"{path}: refused, because its pickle is not a plain dict of tensors: {error}; "
            "load it with torch where you trust it, and save it as model.safetensors"
        ) from error


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes start in the file, which must hold all of them, not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise CheckpointError(
            f"{path}: {shown(entry.filename)} is compressed or encrypted, which torch.save never does"
        )
    with open(path, "rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise CheckpointError(f"{path}: {shown(entry.filename)} has no header of its own")
        name_size = int.from_bytes(header[26:28], "little")
        extra_size = int.from_bytes(header[28:30], "little")
        start = entry.header_offset + 30 + name_size + extra_size
        if start + entry.file_size > file.seek(0, io.SEEK_END):
            raise CheckpointError(f"{path}: truncated inside {shown(entry.filename)}")
    return start
