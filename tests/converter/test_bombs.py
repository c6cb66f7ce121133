"""Small checkpoints that would keep a careless reader busy for hours: refused, within bounds of time and memory."""

from __future__ import annotations

import bz2
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibert_converter.checkpoints import read_checkpoint
from tests.checkpoints import write_checkpoint, write_json
from tests.forked import forked
from tests.torch_zip import state_dict, tensor_record, write_archive

#: What any of them may take beside what the process has.
MEMORY, SECONDS = 1 << 30, 40


def change(folder: Path, name: str, **values: Any) -> None:
    write_json(folder / name, {**json.loads((folder / name).read_text()), **values})


def pickled(data: bytes, **storages: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        write_archive(folder / "pytorch_model.bin", data, storages)

    return write


def text(name: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    return write


def late(make: Callable[[], Callable[[Path], None]]) -> Callable[[Path], None]:
    """What takes long to put together, put together only by the test that writes it."""
    return lambda folder: make()(folder)


def sparse(name: str, size: int, start: bytes = b"") -> Callable[[Path], None]:
    """A file of zeros that takes no room on the disk."""

    def write(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.write(start)
            file.truncate(size)

    return write


def lying_zip(folder: Path) -> None:
    """data.pkl is said to have 1,000 bytes, and is a bzip2 stream of 160 MB."""
    packer, zeros = bz2.BZ2Compressor(), bytes(1 << 24)
    stream = b"".join([*(packer.compress(zeros) for _ in range(10)), packer.flush()])
    name = b"archive/data.pkl"
    sizes = (0, len(stream), 1000, len(name), 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 63, 0, 12, 0, 0, *sizes) + name
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 63, 63, 0, 12, 0, 0, *sizes, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local) + len(stream), 0)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(local + stream + entry + end)


def packed_zip(folder: Path) -> None:
    """All entries compressed, as zip archives of other programs are."""
    pickled(state_dict({}))(folder)
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", state_dict({}) + bytes(1 << 24))


def header(entries: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        data = entries.encode()
        (folder / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)

    return write


#: A tuple of two tuples, each of two: 2^61 leaves out of 300 bytes. It comes back from the memo as anything.
_DOUBLING = b")q\x00" + b"h\x00h\x00\x86q\x00" * 61
_ONE = tensor_record("FloatStorage", "0", (1 << 20,), (1,))

BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a key of endless tuples": (pickled(b"\x80\x02}(" + _DOUBLING + b"u."), "the name of an entry is not text"),
    "endless tuples as a module": (pickled(b"\x80\x04" + _DOUBLING + b"h\x00\x93."), "by what is no text"),
    "endless tuples as a shape": (
        pickled(b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + _DOUBLING * 4 + b"tRu."),
        "malformed",
    ),
    "endless tuples as a storage": (pickled(b"\x80\x02" + _DOUBLING + b"Q."), "storage's record is malformed"),
    "endless tuples as attributes": (pickled(b"\x80\x02" + _DOUBLING + b"}h\x00b."), "tensors are missing"),
    "a size in a thousand factors": (
        late(
            lambda: pickled(state_dict({"w": tensor_record("FloatStorage", "0", (1 << 30,) * 100_000, (1,) * 100_000)}))
        ),
        "more than 8 sizes",
    ),
    "a pickle of a million dicts": (pickled(b"\x80\x02" + b"}" * (1 << 20) + b"."), "tensors are missing"),
    "a pickle too long": (pickled(b"\x80\x02" + b"N" * (3 << 20) + b"."), "the limit is 2097152"),
    "one storage a thousand times": (
        late(lambda: pickled(state_dict({str(number): _ONE for number in range(1000)}), **{"0": bytes(4 << 20)})),
        "more than 8 times as large as the file",
    ),
    "a zip entry that lies about its size": (lying_zip, "is compressed"),
    "a compressed pickle": (packed_zip, "is compressed"),
    "a million layers": (lambda folder: change(folder, "config.json", num_hidden_layers=10**6), "from 1 to 256"),
    "a vocabulary of 2^31": (lambda folder: change(folder, "config.json", vocab_size=2**31 - 1), "vocab_size is"),
    "a million positions": (
        lambda folder: change(folder, "config.json", max_position_embeddings=10**6),
        "max_position_embeddings is",
    ),
    "deep JSON": (text("config.json", "[" * 10**6), "not valid JSON"),
    "a number of a million digits": (text("config.json", '{"a": ' + "9" * 10**6 + "}"), "the limit is 400"),
    "a config of a gigabyte": (sparse("config.json", 1 << 30), "larger than 8388608 bytes"),
    "a tokenizer of a gigabyte": (sparse("tokenizer.json", 1 << 30, b"{"), "larger than 67108864 bytes"),
    "a vocabulary of empty lines": (text("vocab.txt", "\n" * (32 << 20)), "at most 406 can be of use"),
    "a million added tokens": (
        late(lambda: text("added_tokens.json", json.dumps({f"t{number}": number for number in range(200_000)}))),
        "the limit is 8192",
    ),
    "a million added tokens in tokenizer.json": (
        late(
            lambda: text(
                "tokenizer.json",
                json.dumps({"added_tokens": [{"content": "a"}] * 500_000, "model": {"vocab": {}}}),
            )
        ),
        "added tokens",
    ),
    "a tokenizer that is no object": (text("tokenizer.json", "[1]"), "no tokenizer.json"),
    "a tokenizer that makes a megabyte of a letter": (
        text(
            "tokenizer.json",
            json.dumps(
                {
                    "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * (1 << 20)},
                    "model": {"vocab": {"a": 0}},
                }
            ),
        ),
        "tokenizer.json",
    ),
    "a thousand modules": (text("modules.json", json.dumps([{"type": "a", "path": ""}] * 10**4)), "10000 modules"),
    "a header of a gigabyte": (sparse("model.safetensors", 1 << 30, (1 << 29).to_bytes(8, "little")), "the limit is"),
    "a tensor of a million sizes": (
        late(lambda: header(json.dumps({"w": {"dtype": "F32", "shape": [1] * 10**6, "data_offsets": [0, 4]}}))),
        "safetensors",
    ),
    "a repeated key among many": (
        late(lambda: header("{" + ",".join(f'"key {number}":0' for number in range(200_000)) + ',"z":0,"z":0}')),
        "'z' appears twice",
    ),
    "a shard map that names itself": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "x"),
            write_json(folder / "model.safetensors.index.json", {"weight_map": dict.fromkeys("abc", "..")}),
        )[0],
        "not a file in this folder",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("good") / "checkpoint")


@pytest.mark.parametrize("name", BOMBS)
def test_refused_in_bounded_time_and_memory(good, tmp_path, name):
    make, limit = BOMBS[name]
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    make(folder)
    said = forked(lambda: read_checkpoint(folder), memory=MEMORY, cpu=SECONDS)
    assert said.startswith(("CheckpointError: ", "UnsupportedError: ")), said[:500]
    assert str(folder) in said
    assert limit in said


def test_too_little_memory_is_said(good):
    def read() -> None:
        hoard = []
        try:
            while True:
                hoard.append(bytes(1 << 16))
        except MemoryError:
            del hoard[:4]
        read_checkpoint(good)

    said = forked(read, memory=1 << 26)
    assert said.startswith("CheckpointError: ")
    assert "memory" in said


def test_what_a_library_breaks_down_with_names_the_folder(good, monkeypatch):
    """pyo3's PanicException is no Exception; it must not pass by those who catch errors."""

    class PanicException(BaseException):
        pass

    def panic(_text: str) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("minibert_converter.checkpoints.tokenizer.reader.read_vocabulary", lambda *_: panic(""))
    said = forked(lambda: read_checkpoint(good))
    assert said.startswith(f"CheckpointError: {good / 'tokenizer_config.json'}: cannot be read (PanicException(")
