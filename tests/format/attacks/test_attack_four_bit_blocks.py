"""Blocks of four bits whose codes, multipliers or runs are not what they must be; where they are, see blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.engine import Engine
from minibert.errors import FormatError
from minibert.format import read_model, write_model
from minibert.reference.linear import int8_weight
from tests.format.forge import Forge
from tests.format.models import CONFIGS, make_config, make_tensors

# 48 inputs, 52 outputs, 31 of 156 blocks in 4 runs: the last has 7.
NAME, BLOCKS, RUNS = "layers.1.ffn.up", 31, 4


@pytest.fixture
def victim(model_files, tmp_path) -> Forge:
    return Forge(model_files["sparse_four_bit"].read_bytes(), tmp_path)


def test_the_victim_is_what_these_tests_take_it_for(victim):
    assert victim.config["linears"][NAME]["blocks"] == BLOCKS
    assert victim.header[f"{NAME}.codes"]["shape"] == [8 * RUNS, 4, 2]
    assert victim.header[f"{NAME}.multiplier"]["shape"] == [RUNS, 4]
    assert victim.header[f"{NAME}.index"]["shape"] == [BLOCKS]
    assert (np.diff(victim.tensor(f"{NAME}.starts")) % 8 != 0).any()  # so runs go on from group to group
    assert victim.header["layers.0.ffn.up.codes"]["shape"] == [0, 4, 2]
    assert f"{NAME}.weight_sum" in victim.header
    victim.read()


@pytest.mark.parametrize("value", [0, 19, 127, 128, 255])
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (RUNS - 1, 2)])
def test_a_multiplier_out_of_range(victim, place, value):
    victim.tensor(f"{NAME}.multiplier")[place] = value
    victim.refused(f"'{NAME}.multiplier'", f"run {place[0]} of 8 blocks and output {place[1]} ", f"is {value}, not")


def test_every_multiplier_in_range_is_taken(victim):
    for value in range(1, 19):
        victim.tensor(f"{NAME}.multiplier")[...] = value
        assert (victim.read().tensors[f"{NAME}.multiplier"] == value).all()


@pytest.mark.parametrize("place", [(0, 0), (3, 1)])
def test_what_fills_up_a_run_is_zero(victim, place):
    victim.tensor(f"{NAME}.codes")[(BLOCKS, *place)] = 0x10
    victim.refused(f"'{NAME}.codes'", f"block {BLOCKS} only fills up", f"{BLOCKS} blocks")


@pytest.mark.parametrize("runs", [0, RUNS - 1, RUNS + 1])
@pytest.mark.parametrize("part", ["codes", "multiplier"])
def test_as_many_runs_as_blocks_need(victim, part, runs):
    tensor = victim.tensor(f"{NAME}.{part}")
    each = len(tensor) // RUNS
    victim.put({f"{NAME}.{part}": np.resize(tensor, (each * runs, *tensor.shape[1:]))})
    victim.refused(f"'{NAME}.{part}'", f"[{each * runs}, ", f"calls for U8 [{each * RUNS}, ")


@pytest.mark.parametrize("part", ["blocks", "weight", "codebook"])
def test_tensors_of_other_kinds(victim, part):
    victim.put({f"{NAME}.{part}": np.zeros((BLOCKS, 4, 4), np.int8)})
    victim.refused(f"'{NAME}.{part}'", "not one that the config calls for")


@pytest.mark.parametrize(("kind", "part"), [("int8-4x4", "blocks"), ("int8", "weight"), ("codebook", "codebook")])
def test_the_kind_says_which_tensors_there_are(victim, kind, part):
    victim.config["linears"][NAME] |= {"kind": kind, "blocks": BLOCKS if kind == "int8-4x4" else 0}
    victim.refused(f"'{NAME}.{part}' is missing")


def test_groups_are_for_dense_matrices(victim):
    victim.config["linears"][NAME]["group_size"] = 32
    victim.refused(f"'{NAME}'", "group_size is 32", "int4")


def test_any_code_is_a_weight(victim):
    """Even one that no writer writes: what it stands for lies within a byte."""
    name = "layers.0.attention.output"  # all 120 blocks
    codes = victim.tensor(f"{name}.codes")
    codes.reshape(-1)[:256] = np.arange(256)
    file = victim.read()
    weight = int8_weight(name, file.config.linears[name], file.tensors)
    assert weight.dtype == np.int8
    assert weight.min() < -100


def test_codes_that_serve_matrices_of_other_numbers_of_blocks(tmp_path):
    """Of as many runs: a block that fills up the one is a block of zeros of the other."""
    config = make_config("int4-4x4", layers=1)
    name, other = "layers.0.attention.output", "layers.0.ffn.down"
    aliases = {f"{other}.{part}": f"{name}.{part}" for part in ("codes", "multiplier")}
    linears = dict(config.linears)
    linears |= {each: replace(linears[each], blocks=count) for each, count in ((name, 30), (other, 31))}
    config = replace(config, linears=linears, aliases=aliases)
    tensors = make_tensors(config)
    all_tensors = tensors | {alias: tensors[target] for alias, target in aliases.items()}
    tensors[f"{other}.weight_sum"] = int8_weight(other, linears[other], all_tensors).sum(axis=1, dtype=np.int32)
    write_model(tmp_path / "model.safetensors", config, tensors)
    file = read_model(tmp_path / "model.safetensors")
    expected = Engine(file, backend="numpy").forward([[1, 2, 3]])
    np.testing.assert_allclose(Engine(file).forward([[1, 2, 3]]), expected, rtol=1e-5)


def test_writer_names_what_is_wrong(tmp_path):
    config = CONFIGS["sparse_four_bit"]
    tensors = make_tensors(config)
    codes, multiplier, sums = (tensors[f"{NAME}.{part}"] for part in ("codes", "multiplier", "weight_sum"))
    low, high, much, filled = codes.copy(), codes.copy(), multiplier.copy(), codes.copy()
    low[3, 2, 1] = 0x18
    high[3, 2, 1] = 0x81
    much[1, 2] = 19
    filled[BLOCKS, 0, 0] = 1
    for part, tensor, words in (
        ("codes", low, "holds -8"),
        ("codes", high, "holds -8"),
        ("codes", codes[:BLOCKS], "calls for"),
        ("codes", filled, "only fills up"),
        ("multiplier", much, "run 1 of 8 blocks and output 2 "),
        ("multiplier", multiplier[:-1], "calls for"),
        ("weight_sum", sums + 1, "the sums of the weights"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            write_model(tmp_path / "model.safetensors", config, {**tensors, f"{NAME}.{part}": tensor})
        assert f"'{NAME}.{part}'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
