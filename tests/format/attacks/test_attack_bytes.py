"""Files that are cut, stretched, of another kind, or no files at all."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from minibert.errors import FormatError
from minibert.format import read_model


def refused(path, *words):
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count("cannot be read") == ("cannot be read" in words)
    for word in words:
        assert word in str(caught.value)


def test_no_such_file(tmp_path):
    refused(tmp_path / "missing.safetensors", "no such file")
    refused(tmp_path / "missing" / "model.safetensors", "no such file")


def test_a_folder_is_told_how_to_become_a_file(tmp_path):
    refused(tmp_path, "is a folder", f"minibert convert {tmp_path}")


def test_a_name_that_cannot_be_a_path():
    with pytest.raises(FormatError, match="cannot be read"):
        read_model("model\0.safetensors")
    with pytest.raises(FormatError, match="cannot be read"):
        read_model("x" * 10_000)


def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.safetensors"
    path.write_bytes(b"x" * 100)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read anything")
    refused(path, "cannot be read", "ermission")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
def test_pipes_and_devices_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")
    refused("/dev/zero", "not a regular file")


def test_every_truncation_of_a_small_file_is_refused(model_files, forge):
    whole = model_files["int8"].read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    cuts = {*range(12), *range(header - 70, header + 2), *range(header, len(whole), 997), len(whole) - 1}
    for cut in sorted(cuts):
        forge.refused(content=whole[:cut])
    forge.refused("cut short", "copy it again", content=whole[: header // 2])
    forge.refused("tokenizer.json", "cut short", content=whole[:-1])


def test_bytes_behind_the_end_are_refused(forge):
    forge.refused("behind tensor 'tokenizer.json'", content=forge.bytes() + b"\0")


def test_header_lengths_that_lie(forge):
    content = forge.bytes()
    for length in (0, 1, 2**63, 2**64 - 1, 2**64 - 8, len(content), len(content) - 8, 8 << 20, (8 << 20) + 1):
        forge.refused(content=length.to_bytes(8, "little") + content[8:])


def test_a_header_over_the_limit(forge):
    forge.metadata["note"] = "x" * (8 << 20)
    forge.refused("not a safetensors file")


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"PK\x03\x04" + b"\0" * 99, "PyTorch"),
        (b"GGUF" + b"\3\0\0\0" * 9, "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
        (b"\0" * 4096, "not a safetensors file"),
        (b"hello world, I am not a model", "not a safetensors file"),
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
    ],
    ids=["zip", "gguf", "lfs", "pickle", "zeros", "text", "empty", "short"],
)
def test_other_kinds_of_file_are_named(forge, start, word):
    forge.refused(word, content=start)


def test_a_pytorch_checkpoint_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    import pickle

    with zipfile.ZipFile(tmp_path / "model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    refused(tmp_path / "model.bin", "zip", "minibert convert")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "model.pkl", "pickle")
    assert not (tmp_path / "exploded").exists()


def test_safetensors_files_of_others_are_told_to_be_converted(tmp_path, forge):
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}, {"format": "Minibert", "version": "1"}):
        save_file({"bert.embeddings.word_embeddings.weight": np.zeros((4, 4), np.float32)}, path, metadata)
        refused(path, "not one that minibert wrote", "minibert convert")
    forge.refused("not one that minibert wrote", content=save({}))


@pytest.mark.parametrize("version", ["2", "0", "", "1.0", "01", " 1", "9" * 1000])
def test_other_versions_are_refused_before_their_config_is_looked_at(forge, version):
    forge.metadata["version"] = version
    forge.config = None
    forge.metadata["config"] = "of a future release"
    forge.refused("version", "this release reads version 1")


def test_a_version_is_needed(forge):
    del forge.metadata["version"]
    forge.refused("version")
