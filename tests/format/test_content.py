"""A model in memory does not care what becomes of its file; one that is being written is not opened."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

import minibert
from minibert.errors import FormatError
from minibert.format import read_model
from minibert.format import reader as reader_module
from minibert.format.constants import ALIGNMENT
from minibert.format.tensors import TOKENIZER

IDS = [[1, 2, 3], [4]]


@pytest.fixture(params=["copy", "bytes", "bytearray"])
def opened(request, model_path, tmp_path):
    """The bytes of a file, and what to open: each has a file of its own, which may be destroyed."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_path.read_bytes())
    if request.param == "copy":
        return path, {"copy": True}
    return (bytes if request.param == "bytes" else bytearray)(path.read_bytes()), {}


def test_the_same_tensors_as_a_mapped_file(opened, model_path):
    source, options = opened
    mapped, model = read_model(model_path), read_model(source, **options)
    if not isinstance(source, (bytes, bytearray)):
        os.truncate(source, 100)
    elif isinstance(source, bytearray):
        source[:] = bytes(len(source))
    assert model.config == mapped.config
    assert model.size == mapped.size
    assert model.tokenizer_json() == mapped.tokenizer_json()
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor, mapped.tensors[name])
        assert not tensor.flags.writeable
        assert name == TOKENIZER or tensor.ctypes.data % ALIGNMENT == 0


def test_pickle_carries_it(opened):
    source, options = opened
    model = minibert.load(source, backend="numpy", **options)
    expected = model.forward(IDS)
    stored = pickle.dumps(model)
    del model
    if not isinstance(source, (bytes, bytearray)):
        source.unlink()
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.forward(IDS), expected)
    assert again.engine.backend == "numpy"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).forward(IDS), expected)


def test_a_mapped_file_lives_on_when_another_takes_its_name(model_files, tmp_path):
    path, new = tmp_path / "model.safetensors", tmp_path / "new"
    path.write_bytes(model_files["int8"].read_bytes())
    new.write_bytes(model_files["embedding"].read_bytes())
    model = minibert.load(path, backend="numpy")
    before = model.forward(IDS)
    os.replace(new, path)
    np.testing.assert_array_equal(model.forward(IDS), before)
    assert minibert.load(path, backend="numpy").task.kind == "sentence-embedding"


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("how", ["longer", "shorter", "the same size"])
def test_a_file_that_is_being_written_is_refused(model_path, tmp_path, monkeypatch, copy, how):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_path.read_bytes())
    parse = reader_module._parse_config

    def meanwhile(metadata: object) -> object:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(0 if how == "the same size" else size)
            if how == "shorter":
                file.truncate(size - 1)
            else:
                file.write(b"x")
        return parse(metadata)

    os.utime(path, (1, 1))
    monkeypatch.setattr(reader_module, "_parse_config", meanwhile)
    with pytest.raises(FormatError, match=r"model\.safetensors: is being written by another program"):
        read_model(path, copy=copy)


@pytest.mark.parametrize("data", [b"", b"1234567", b"PK\x03\x04" + bytes(100)])
def test_bytes_that_are_no_model(data):
    with pytest.raises(FormatError, match="bytes: is "):
        minibert.load(data)
