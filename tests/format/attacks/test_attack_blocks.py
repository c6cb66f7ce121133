"""Block-sparse matrices whose index, starts or counts would lead a kernel out of its memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import Linear, write_model
from minibert.format.blocks import prove_blocks
from tests.format.forge import Forge
from tests.format.models import CONFIGS, make_tensors

# 64 inputs (16 groups of them), 40 outputs (10 groups, and 2 of padding), 80 of 160 blocks.
NAME = "layers.0.ffn.down"
COLUMNS, GROUPS, BLOCKS = 16, 10, 80


@pytest.fixture(params=["sparse", "sparse_four_bit"])
def sparse_forge(request, model_files, tmp_path) -> Forge:
    """Blocks of int8, and of four bits: what is proven of where they are is the same."""
    return Forge(model_files[request.param].read_bytes(), tmp_path)


def weights_of(forge) -> str:
    """The tensor of a matrix that its blocks are in."""
    return "blocks" if f"{NAME}.blocks" in forge.header else "codes"


@pytest.fixture
def index(sparse_forge) -> np.ndarray:
    return sparse_forge.tensor(f"{NAME}.index")


@pytest.fixture
def starts(sparse_forge) -> np.ndarray:
    return sparse_forge.tensor(f"{NAME}.starts")


def group_of(block, starts) -> int:
    """By the definition: the group whose blocks hold this one."""
    return next(g for g in range(len(starts) - 1) if starts[g] <= block < starts[g + 1])


def test_the_victim_is_what_these_tests_take_it_for(sparse_forge, index, starts):
    assert index.shape == (BLOCKS,)
    assert starts.shape == (GROUPS + 2 + 1,)
    assert starts[GROUPS] == starts[-1] == BLOCKS
    assert sparse_forge.config["linears"][NAME]["in_features"] == 4 * COLUMNS
    np.testing.assert_array_equal(sparse_forge.read().tensors[f"{NAME}.index"], index)


@pytest.mark.parametrize("block", [0, 1, 40, BLOCKS - 1])
@pytest.mark.parametrize("value", [COLUMNS, COLUMNS + 1, 255, 256, 4 * COLUMNS, 16384, 32767, 32768, 65535])
def test_an_index_out_of_range(sparse_forge, index, starts, block, value):
    index[block] = value
    sparse_forge.refused(f"'{NAME}.index'", f"block {block}, of group {group_of(block, starts)} ", str(value))


def test_an_index_that_comes_twice(sparse_forge, index, starts):
    for group in range(GROUPS):
        if starts[group + 1] - starts[group] > 1:
            spoiled = sparse_forge.copy()
            block = starts[group] + 1
            spoiled.tensor(f"{NAME}.index")[block] = index[block - 1]
            spoiled.refused(f"'{NAME}.index'", f"block {block}, of group {group} ", "comes twice")


def test_an_index_that_falls(sparse_forge, index, starts):
    for group in range(GROUPS):
        if starts[group + 1] - starts[group] > 1:
            spoiled = sparse_forge.copy()
            last = starts[group + 1] - 1
            spoiled.tensor(f"{NAME}.index")[[last - 1, last]] = index[[last, last - 1]]
            spoiled.refused(f"'{NAME}.index'", f"of group {group} ", "comes behind")


def test_the_first_of_several_wrongs_is_named(sparse_forge, index, starts):
    index[:] = index[::-1].copy()
    first = next(b for b in range(1, BLOCKS) if b not in starts and index[b] <= index[b - 1])
    sparse_forge.refused(f"'{NAME}.index'", f"block {first}, of group {group_of(first, starts)} ")


def test_an_index_may_fall_from_group_to_group(index, starts):
    """Else the check would be one for matrices of one group."""
    inner = starts[1:GROUPS]
    assert (index[inner] <= index[inner - 1]).any()


@pytest.mark.parametrize("value", [1, -1, BLOCKS, 2**31 - 1, -(2**31)])
def test_starts_that_do_not_start(sparse_forge, starts, value):
    starts[0] = value
    sparse_forge.refused(f"'{NAME}.starts'", "group 0 ", str(value))


@pytest.mark.parametrize("value", [-1, BLOCKS + 1, 2**16, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("group", [0, 4, GROUPS - 1, GROUPS, GROUPS + 1])
def test_starts_out_of_range(sparse_forge, starts, group, value):
    starts[group + 1] = value
    sparse_forge.refused(f"'{NAME}.starts'", f"group {group} ", f"ends at block {value}")


def test_starts_whose_differences_overflow(sparse_forge, starts):
    """From the least int32 to the greatest is a step of -1 in int32."""
    starts[4], starts[5] = -(2**31), 2**31 - 1
    sparse_forge.refused(f"'{NAME}.starts'", "group 3 ")


def test_starts_that_fall(sparse_forge, starts):
    for group in range(1, GROUPS):
        if starts[group] > 0:
            spoiled = sparse_forge.copy()
            spoiled.tensor(f"{NAME}.starts")[group + 1] = starts[group] - 1
            spoiled.refused(f"'{NAME}.starts'", f"group {group} ", f"begins at block {starts[group]}")


def test_starts_that_end_too_early(sparse_forge, starts):
    starts[GROUPS:] = BLOCKS - 1
    sparse_forge.refused(f"'{NAME}.starts'", f"group {GROUPS + 1}, the last", f"not {BLOCKS}")


def test_blocks_of_outputs_that_are_only_padding(sparse_forge, starts):
    starts[GROUPS] = BLOCKS - 1
    sparse_forge.refused(f"'{NAME}.starts'", f"group {GROUPS} ", "40 outputs")
    starts[GROUPS + 1] = BLOCKS - 1
    sparse_forge.refused(f"'{NAME}.starts'", f"group {GROUPS + 1} ", "40 outputs")


def test_blocks_moved_to_the_next_group(sparse_forge, index, starts):
    """A border between groups moved by one: in range, but hardly ever rising on both sides."""
    refused = 0
    for group in range(1, GROUPS):
        spoiled = sparse_forge.copy()
        border = spoiled.tensor(f"{NAME}.starts")
        if border[group] + 1 < border[group + 1]:
            border[group] += 1
            falls = index[starts[group]] <= index[starts[group] - 1]
            if falls:
                spoiled.refused(f"'{NAME}.index'", f"of group {group - 1} ")
                refused += 1
            else:
                spoiled.read()
    assert refused


@pytest.mark.parametrize("count", [0, 1, BLOCKS - 1, BLOCKS + 1, 160])
def test_counts_that_are_not_those_of_the_tensors(sparse_forge, count):
    sparse_forge.config["linears"][NAME]["blocks"] = count
    sparse_forge.refused(f"tensor '{NAME}.", "calls for", f"[{count}")


@pytest.mark.parametrize("count", [161, 2**20, 2**31 - 1])
def test_more_blocks_than_the_matrix_has(sparse_forge, count):
    sparse_forge.config["linears"][NAME]["blocks"] = count
    sparse_forge.refused(f"'{NAME}'", f"blocks is {count}", "160")


@pytest.mark.parametrize("count", [-1, 2**31, 2**32, 2**63, 2**64, 80.0, "80", True, None, [80]], ids=str)
def test_counts_that_are_no_counts(sparse_forge, count):
    sparse_forge.config["linears"][NAME]["blocks"] = count
    sparse_forge.refused(f"'{NAME}'", "blocks must be a whole number")


def test_a_count_that_agrees_with_the_tensors_but_not_with_starts(sparse_forge):
    """The last block cut off everywhere but in starts: shapes and ranges fit; a kernel would read behind the end."""
    sparse_forge.config["linears"][NAME]["blocks"] -= 1
    if weights_of(sparse_forge) == "codes":  # as many runs, the last of which is filled up now
        sparse_forge.tensor(f"{NAME}.codes")[-1] = 0
    for part, size in (("blocks", 16), ("index", 2)):
        if f"{NAME}.{part}" not in sparse_forge.header:
            continue
        entry = sparse_forge.header[f"{NAME}.{part}"]
        padding = sparse_forge.header.setdefault(
            f"{NAME}.{part}.padding",
            {"dtype": entry["dtype"], "shape": [0], "data_offsets": [entry["data_offsets"][1]] * 2},
        )
        entry["shape"][0] -= 1
        entry["data_offsets"][1] -= size
        padding["shape"][0] += size // (1 if part == "blocks" else 2)
        padding["data_offsets"][0] -= size
    sparse_forge.refused(f"'{NAME}.starts'", f"ends at block {BLOCKS} of {BLOCKS - 1}")


def test_blocks_of_a_dense_matrix(forge):
    forge.config["linears"]["layers.0.ffn.up"]["blocks"] = 3
    forge.refused("'layers.0.ffn.up'", "blocks is for the kinds int8-4x4 and int4-4x4")


@pytest.mark.parametrize("part", ["index", "starts", "weights"])
def test_dtypes_and_shapes(sparse_forge, part):
    other = {"index": "I8", "starts": "F32", "weights": "F32"}[part]
    part = weights_of(sparse_forge) if part == "weights" else part
    for change in ({"dtype": other}, {"shape": [-1]}, {"shape": []}, {"shape": [2**63]}, {"shape": None}):
        spoiled = sparse_forge.copy()
        spoiled.header[f"{NAME}.{part}"].update(change)
        spoiled.refused(f"'{NAME}.{part}'", "calls for")


def test_a_matrix_without_blocks_whose_starts_say_otherwise(sparse_forge):
    assert sparse_forge.header["layers.0.ffn.up.index"]["shape"] == [0]
    sparse_forge.tensor("layers.0.ffn.up.starts")[3:] = 1
    sparse_forge.refused("'layers.0.ffn.up.starts'", "group 2 ", "ends at block 1 of 0")


def test_an_index_borrowed_from_a_wider_matrix(sparse_forge):
    tensors = sparse_forge.read().tensors
    narrow = Linear("int8-4x4", 48, 40, blocks=BLOCKS)
    with pytest.raises(FormatError, match=r"'narrow\.index'.*the matrix has 12"):
        prove_blocks("narrow", narrow, tensors[f"{NAME}.index"], tensors[f"{NAME}.starts"])


@pytest.mark.parametrize("kind", ["shared_sparse", "shared_sparse_four_bit"])
def test_an_alias_is_proven_for_each_matrix_that_uses_it(tmp_path, kind):
    """Blocks and index shared, starts of its own: what fits one matrix need not fit the other."""
    shared = CONFIGS[kind]
    name = "layers.1.ffn.up.starts"
    config = replace(shared, aliases={key: value for key, value in shared.aliases.items() if key != name})
    tensors = make_tensors(config)
    tensors[name] = tensors["layers.0.ffn.up.starts"]
    write_model(tmp_path / "whole.safetensors", config, tensors)
    forge = Forge((tmp_path / "whole.safetensors").read_bytes(), tmp_path)
    tensors = forge.read().tensors
    assert tensors["layers.1.ffn.up.index"] is tensors["layers.0.ffn.up.index"]
    assert tensors["layers.1.ffn.up.starts"] is not tensors["layers.0.ffn.up.starts"]
    forge.tensor(name)[2] = 2**31 - 1
    forge.refused(f"'{name}'", "group 1 ")


def test_what_was_proven_stays_true_when_the_file_is_written_over(sparse_forge):
    file = sparse_forge.read()
    weights = weights_of(sparse_forge)
    before = {part: file.tensors[f"{NAME}.{part}"].copy() for part in ("index", "starts", weights)}
    for part, tensor in before.items():
        sparse_forge.tensor(f"{NAME}.{part}")[...] = np.iinfo(tensor.dtype).max
    with sparse_forge.path.open("r+b") as opened:
        opened.write(sparse_forge.bytes())
    written = np.iinfo(before[weights].dtype).max
    assert (file.tensors[f"{NAME}.{weights}"] == written).all()  # weights are those of the mapping
    for part in ("index", "starts"):
        np.testing.assert_array_equal(file.tensors[f"{NAME}.{part}"], before[part])
    sparse_forge.refused(f"'{NAME}.starts'")
