"""pytorch_model.bin: what torch writes is read, and what no torch.save would write is refused and never run."""

from __future__ import annotations

import pickle
import struct
import zipfile

import numpy as np
import pytest

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.torch_file import torch_contents
from tests.torch_zip import calls, state_dict, tensor_record, write_archive, write_torch_file


def test_values_shapes_and_types(tmp_path):
    random = np.random.default_rng(0)
    tensors = {
        "single": random.standard_normal((3, 5)).astype(np.float32),
        "half": random.standard_normal((7,)).astype(np.float16),
        "double": random.standard_normal((2, 1, 4)),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.float32(2.5).reshape(()),
    }
    contents = torch_contents(write_torch_file(tmp_path / "weights.bin", tensors))
    assert list(contents) == list(tensors)
    for name, values in tensors.items():
        read = contents[name].read()
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, values.astype(np.float32))


def test_views_of_one_storage(tmp_path):
    elements = np.arange(12, dtype=np.float32)
    records = {
        "transposed": tensor_record("FloatStorage", "0", (4, 3), (1, 4)),
        "slice": tensor_record("FloatStorage", "0", (2, 2), (4, 1), first=5),
        "expanded": tensor_record("FloatStorage", "0", (3, 2), (0, 1)),
    }
    contents = torch_contents(write_archive(tmp_path / "weights.bin", state_dict(records), {"0": elements.tobytes()}))
    np.testing.assert_array_equal(contents["transposed"].read(), elements.reshape(3, 4).T)
    np.testing.assert_array_equal(contents["slice"].read(), [[5, 6], [9, 10]])
    np.testing.assert_array_equal(contents["expanded"].read(), [[0, 1]] * 3)


@pytest.mark.parametrize(
    ("shape", "strides", "first"),
    [
        ((13,), (1,), 0),
        ((12,), (1,), 1),
        ((2, 2), (11, 1), 0),
        ((1 << 40,), (0,), 0),
        ((3, 4), (4,), 0),
        ((-1,), (1,), 0),
        ((4,), (-1,), 3),
        ((1,), (1,), -4),
        ((1 << 62, 4), (0, 0), 0),
    ],
)
def test_views_beyond_their_storage_are_refused(tmp_path, shape, strides, first):
    record = tensor_record("FloatStorage", "0", shape, strides, first)
    path = write_archive(tmp_path / "weights.bin", state_dict({"w": record}), {"0": bytes(48)})
    with pytest.raises(CheckpointError, match=r"weights\.bin"):
        torch_contents(path)


HOSTILE = {
    "a call of os.system": calls("os", "system"),
    "a call of eval": calls("builtins", "eval"),
    "getattr": calls("builtins", "getattr"),
    "a name inside an allowed module": calls("torch._utils", "_import_dotted_name"),
    "a dotted name": calls("collections", "OrderedDict.fromkeys"),
    "a lookalike storage": calls("torch", "load"),
    "a class instance": b"\x80\x02}(X\x01\x00\x00\x00xccollections\nOrderedDict\n)\x81u.",
    "the old INST operation": b"(X\x04\x00\x00\x00trueios\nsystem\n.",
    "an extension code": b"\x80\x02\x82\x01.",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "an empty stack": b"\x80\x020.",
    "a list": b"\x80\x02].",
    "a number as a name": b"\x80\x02}(K\x01K\x02u.",
    "a value that is no tensor": b"\x80\x02}(X\x01\x00\x00\x00wK\x02u.",
    "tuples without end": b"\x80\x02}(X\x01\x00\x00\x00w)" + b"\x85" * 100_000 + b"u.",
    "a persistent id that is no storage": b"\x80\x02}(X\x01\x00\x00\x00wK\x01Qu.",
    "setting attributes of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00xK\x01sb.",
    "a pickled list of numbers": pickle.dumps([1.0, 2.0]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused(tmp_path, data, monkeypatch):
    def run(*_):
        raise AssertionError("the pickle was executed")

    monkeypatch.setattr("os.system", run)
    path = write_archive(tmp_path / "weights.bin", data, {"0": bytes(48)})
    with pytest.raises(CheckpointError, match=r"weights\.bin"):
        torch_contents(path)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # how files of torch before 1.6 begin
    with pytest.raises(CheckpointError, match=r"safetensors"):
        torch_contents(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(CheckpointError, match=r"data\.pkl"):
        torch_contents(path)


def test_compressed_storages_are_refused(tmp_path):
    record = tensor_record("FloatStorage", "0", (1024,), (1,))
    path = write_archive(tmp_path / "w.bin", state_dict({"w": record}), {"0": bytes(4096)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        torch_contents(path)


def test_missing_storages_are_named(tmp_path):
    record = tensor_record("FloatStorage", "7", (3,), (1,))
    path = write_archive(tmp_path / "w.bin", state_dict({"layer.weight": record}), {"0": bytes(12)})
    with pytest.raises(CheckpointError, match=r"layer\.weight.*missing"):
        torch_contents(path)


def test_mutated_archives_never_crash(tmp_path):
    random = np.random.RandomState(0)
    path = write_torch_file(tmp_path / "weights.bin", {"w": np.ones((4, 4), np.float32), "b": np.ones(4, np.float32)})
    whole = path.read_bytes()
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            data[random.randint(len(data))] = random.randint(256)
        path.write_bytes(data[: random.randint(1, len(data))] if random.rand() < 0.2 else data)
        try:
            for tensor in torch_contents(path).values():
                tensor.read()
        except CheckpointError:
            refused += 1
    assert refused > 100


def test_big_endian_archives(tmp_path):
    record = tensor_record("FloatStorage", "0", (2,), (1,))
    path = write_archive(tmp_path / "w.bin", state_dict({"w": record}), {"0": struct.pack(">2f", 1.5, -2.0)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", b"big")
    np.testing.assert_array_equal(torch_contents(path)["w"].read(), [1.5, -2.0])
