"""Tensors that are not what the config calls for, or not where they say; aliases; the tokenizer."""

from __future__ import annotations

import json
import zlib

import pytest
from safetensors import SafetensorError
from safetensors.numpy import load

from minibert.errors import FormatError

NAME = "layers.0.ffn.up.weight"


def test_every_tensor_is_needed(forge):
    for name in list(forge.header):
        if not name.endswith(".padding"):
            spoiled = forge.copy()
            del spoiled.header[name]
            spoiled.refused(f"'{name}'" if name + ".padding" not in forge.header else "missing", "missing")


def test_padding_that_is_missing_leaves_a_hole(forge):
    del forge.header["embeddings.word.weight.padding"]
    forge.refused("nobody's", "'embeddings.word.weight'")


@pytest.mark.parametrize("name", ["evil", "", "layers.2.ffn.up.weight", "__proto__", ".padding", "evil.padding"])
def test_tensors_that_nobody_called_for(forge, name):
    size = len(forge.data)
    forge.data += bytes(64)
    forge.header[name] = {"dtype": "I8", "shape": [64], "data_offsets": [size, size + 64]}
    forge.refused(f"{name!r} is not one that the config calls for")


def test_padding_where_none_is_due(forge):
    size = len(forge.data)
    forge.data += bytes(64)
    forge.header[NAME + ".padding"] = {"dtype": "I8", "shape": [64], "data_offsets": [size, size + 64]}
    forge.refused(NAME + ".padding", "none is due")


@pytest.mark.parametrize("entry", [None, [], "I8", 5, {}, {"dtype": "I8"}, {"dtype": "I8", "shape": []}], ids=str)
def test_entries_that_are_no_entries(forge, entry):
    forge.header[NAME] = entry
    forge.refused(f"'{NAME}'", "dtype, shape and data_offsets")


def test_entries_that_say_more(forge):
    forge.header[NAME]["strides"] = [1, 1, 1, 1]
    forge.refused(f"'{NAME}'")


@pytest.mark.parametrize(
    "dtype", ["U8", "BOOL", "F8_E4M3", "F32", "I64", "i8", "", "X", None, 1, ["I8"], {"I8": 1}], ids=str
)
def test_dtypes(forge, dtype):
    forge.header[NAME]["dtype"] = dtype
    forge.refused(f"'{NAME}'", "calls for I8 [4, 12, 16, 4]")


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [3072],
        [4, 12, 64],
        [4, 12, 4, 16],
        [12, 4, 16, 4],
        [4, 12, 16, 4, 1],
        [4, 12, 16, 5],
        [4, 12, -16, -4],
        [0, 12, 16, 4],
        [4.0, 12, 16, 4],
        [True, 3072],
        [1 << 62, 4, 1, 1],
        [1 << 63, 2, 1, 1],
        ["4", 12, 16, 4],
        [[4, 12, 16, 4]],
        None,
        "4",
        3072,
        {"0": 4},
    ],
    ids=str,
)
def test_shapes(forge, shape):
    forge.header[NAME]["shape"] = shape
    forge.refused(f"'{NAME}'", "calls for I8 [4, 12, 16, 4]")


@pytest.mark.parametrize(
    "offsets",
    [
        [],
        [0],
        [0, 3072, 6144],
        [0.0, 3072.0],
        ["0", "3072"],
        [None, None],
        [True, 3073],
        None,
        3072,
        {"begin": 0},
        [0, 0],
        [3072, 0],
        [0, 3071],
        [-3072, 0],
        [1 << 62, (1 << 62) + 3072],
        [(1 << 64) - 3072, 1 << 64],
        [(1 << 63) - 64, (1 << 63) - 64 + 3072],
        [10**30, 10**30 + 3072],
    ],
    ids=str,
)
def test_offsets(forge, offsets):
    forge.header[NAME]["data_offsets"] = offsets
    forge.refused(f"'{NAME}'")


def test_ranges_that_overlap(forge):
    """Two tensors of the same size on the same bytes: sharing that the config doesn't tell of."""
    forge.header["layers.0.ffn.norm.weight"] = forge.header["layers.0.ffn.norm.bias"]
    forge.refused("overlaps", "'layers.0.ffn.norm.")


def test_ranges_moved_by_one_line_of_cache(forge):
    for name, entry in forge.header.items():
        for distance in (-64, 64):
            spoiled = forge.copy()
            spoiled.header[name]["data_offsets"] = [offset + distance for offset in entry["data_offsets"]]
            spoiled.refused()


def test_ranges_that_are_swapped_are_still_ranges(forge):
    """Which of two equal tensors comes first in the file is nobody's business: contents, not structure."""
    first, second = forge.header["layers.0.ffn.norm.bias"], forge.header["layers.0.ffn.norm.weight"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]
    forge.read()


def test_a_hole_between_tensors(forge):
    """Bytes that belong to nobody could hide anything, and would make two files of one model."""
    position = forge.header[NAME]["data_offsets"][0]
    forge.data[position:position] = bytes(64)
    for entry in forge.header.values():
        if entry["data_offsets"][0] >= position:
            entry["data_offsets"] = [offset + 64 for offset in entry["data_offsets"]]
    forge.refused("64 bytes between", "nobody's")
    with pytest.raises(SafetensorError):
        load(forge.bytes())


def test_a_hole_before_the_first_tensor(forge):
    forge.data[:0] = bytes(64)
    for entry in forge.header.values():
        entry["data_offsets"] = [offset + 64 for offset in entry["data_offsets"]]
    forge.refused("64 bytes between the header", "nobody's")


@pytest.mark.parametrize("spaces", [1, 4, 8, 16, 32, 63])
def test_data_off_the_64_bytes(forge, spaces):
    content = forge.bytes()
    length = int.from_bytes(content[:8], "little")
    shifted = (length + spaces).to_bytes(8, "little") + content[8 : 8 + length] + b" " * spaces + content[8 + length :]
    load(shifted)  # a valid safetensors file, but not one that can be run where it lies
    forge.refused("not aligned", content=shifted)


def test_one_tensor_off_the_64_bytes(forge):
    """The padding moved to where it does no good."""
    padding = forge.header["embeddings.word.weight.padding"]
    word = forge.header["embeddings.word.weight"]
    size = padding["data_offsets"][1] - padding["data_offsets"][0]
    begin, end = word["data_offsets"]
    padding["data_offsets"], word["data_offsets"] = [begin, begin + size], [begin + size, end + size]
    load(forge.bytes())
    forge.refused("'embeddings.word.weight' is not aligned")


# Aliases


def test_aliases_of_nothing(shared_forge):
    name = next(iter(shared_forge.config["aliases"]))
    for target in ("evil", "", "tokenizer.json", "__metadata__"):
        spoiled = shared_forge.copy()
        spoiled.config["aliases"][name] = target
        spoiled.refused(f"'{name}'", "doesn't have")
    for target in (None, 1, ["x"], {"x": 1}):
        spoiled = shared_forge.copy()
        spoiled.config["aliases"][name] = target
        spoiled.refused(f"'{name}'", "must be a string")


def test_aliases_for_nothing(shared_forge):
    for name in ("evil", "tokenizer.json", "layers.99.ffn.up.weight"):
        spoiled = shared_forge.copy()
        spoiled.config["aliases"][name] = "layers.0.ffn.up.weight"
        spoiled.refused(f"'{name}'", "no such tensor")


def test_chains_and_cycles_of_aliases(shared_forge):
    spoiled = shared_forge.copy()
    spoiled.config["aliases"]["layers.2.ffn.up.weight"] = "layers.1.ffn.up.weight"
    spoiled.refused("itself an alias", "'layers.2.ffn.up.weight'")
    spoiled = shared_forge.copy()
    spoiled.config["aliases"]["layers.0.ffn.up.weight"] = "layers.1.ffn.up.weight"
    spoiled.refused("itself an alias")
    spoiled = shared_forge.copy()
    spoiled.config["aliases"]["layers.1.ffn.up.weight"] = "layers.1.ffn.up.weight"
    spoiled.refused("itself an alias")


def test_aliases_of_another_shape_or_dtype(shared_forge):
    for target in ("layers.0.ffn.down.weight", "layers.0.ffn.up.bias", "layers.0.attention.qkv.weight"):
        spoiled = shared_forge.copy()
        spoiled.config["aliases"]["layers.1.ffn.up.weight"] = target
        spoiled.refused("'layers.1.ffn.up.weight'", f"'{target}'")
    shared_forge.config["aliases"]["layers.1.ffn.up.weight_sum"] = "layers.0.ffn.up.scale"
    shared_forge.refused("'layers.1.ffn.up.weight_sum'", "I32", "F32")


def test_aliases_that_are_stored_too(forge):
    forge.config["aliases"] = {"layers.1.ffn.norm.bias": "layers.0.ffn.norm.bias"}
    forge.refused("'layers.1.ffn.norm.bias' is stored and also an alias")


def test_an_alias_dropped_is_a_tensor_missing(shared_forge):
    del shared_forge.config["aliases"]["layers.1.ffn.norm.bias"]
    shared_forge.refused("'layers.1.ffn.norm.bias' is missing")


# The tokenizer


def with_tokenizer(forge, content: bytes):
    """The tokenizer is the last tensor of the file."""
    begin, _ = forge.header["tokenizer.json"]["data_offsets"]
    forge.data[begin:] = content
    forge.header["tokenizer.json"].update(shape=[len(content)], data_offsets=[begin, begin + len(content)])
    return forge


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{}", "damaged"),
        (b"\0" * 100, "damaged"),
        (zlib.compress(b"{}")[:-1], "whole zlib stream"),
        (zlib.compress(b"{}") + b"more", "whole zlib stream"),
        (zlib.compress(b"\xff\xfe"), "damaged"),
        (zlib.compress(b"{}")[:-4] + b"\0\0\0\0", "damaged"),
    ],
    ids=["plain", "zeros", "short", "long", "no utf-8", "checksum"],
)
def test_a_damaged_tokenizer_is_found_when_it_is_needed(forge, content, word):
    file = with_tokenizer(forge, content).read()
    with pytest.raises(FormatError, match=word) as caught:
        file.tokenizer_json()
    assert str(forge.path) in str(caught.value)
    assert "'tokenizer.json'" in str(caught.value)


def test_a_tokenizer_bomb_stops_at_64_megabytes(forge):
    bomb = zlib.compress(bytes(256 << 20), 9)
    assert len(bomb) < 1 << 20
    file = with_tokenizer(forge, bomb).read()
    with pytest.raises(FormatError, match="expands to more than 67108864 bytes"):
        file.tokenizer_json()


@pytest.mark.parametrize(
    "change", [{"dtype": "I8"}, {"shape": []}, {"shape": [2, 50]}, {"shape": [0]}, {"shape": [-1]}], ids=str
)
def test_a_tokenizer_that_is_no_row_of_bytes(forge, change):
    forge.header["tokenizer.json"].update(change)
    forge.refused("'tokenizer.json'")


def test_an_empty_tokenizer(forge):
    with_tokenizer(forge, b"").refused("'tokenizer.json'")


def test_the_forge_makes_valid_files(forge, shared_forge, embedding_forge):
    """Else every refusal above would prove nothing."""
    for each in (forge, shared_forge, embedding_forge):
        file = each.read()
        assert json.loads(file.tokenizer_json())
        load(each.bytes())
