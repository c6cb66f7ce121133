"""Four-bit matrices whose multipliers, groups or codes are not what they must be."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import write_model
from tests.format.forge import Forge
from tests.format.models import CONFIGS, make_tensors

# int4, 64 inputs in groups of 12 (the last has 4), 40 outputs in 3 panels; and a codebook.
NAME, CODEBOOK = "layers.0.ffn.down", "layers.0.ffn.up"
# A codebook whose sums are stored.
SUMMED = "layers.1.attention.qkv"


@pytest.fixture
def victim(model_files, tmp_path) -> Forge:
    return Forge(model_files["four_bit"].read_bytes(), tmp_path)


def test_the_victim_is_what_these_tests_take_it_for(victim):
    assert victim.header[f"{NAME}.multiplier"]["shape"] == [3, 6, 16]
    assert victim.header[f"{NAME}.codes"]["shape"] == [3, 16, 16, 2]
    assert victim.header[f"{CODEBOOK}.codebook"]["shape"] == [4, 16]
    assert f"{NAME}.weight_sum" not in victim.header
    victim.read()


@pytest.mark.parametrize("value", [0, 19, 127, 128, 255])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 5, 3), (2, 5, 15)])
def test_a_multiplier_out_of_range(victim, place, value):
    victim.tensor(f"{NAME}.multiplier")[place] = value
    output = 16 * place[0] + place[2]
    victim.refused(f"'{NAME}.multiplier'", f"output {output} and group {place[1]} ", f"is {value}, not from 1 to 18")


def test_every_multiplier_in_range_is_taken(victim):
    for value in range(1, 19):
        victim.tensor(f"{NAME}.multiplier")[...] = value
        assert (victim.read().tensors[f"{NAME}.multiplier"] == value).all()


@pytest.mark.parametrize("size", [4, 8, 16, 64, 65536])
def test_groups_that_call_for_other_multipliers(victim, size):
    victim.config["linears"][NAME]["group_size"] = size
    victim.refused(f"'{NAME}.multiplier'", "calls for")


@pytest.mark.parametrize("size", [1, 2, 3, 13, 30])
def test_groups_that_cut_through_what_lies_together(victim, size):
    victim.config["linears"][NAME]["group_size"] = size
    victim.refused(f"'{NAME}'", "group_size must be a multiple of 4")


@pytest.mark.parametrize("size", [-4, 65540, 2**31, 2**64, 12.0, "12", True, None, [12]], ids=str)
def test_group_sizes_that_are_none(victim, size):
    victim.config["linears"][NAME]["group_size"] = size
    victim.refused(f"'{NAME}'", "group_size must be a whole number")


@pytest.mark.parametrize(("name", "size"), [(NAME, 0), (CODEBOOK, 32), ("layers.1.ffn.down", 32)])
def test_group_sizes_are_for_int4(victim, name, size):
    victim.config["linears"][name]["group_size"] = size
    victim.refused(f"'{name}'", f"group_size is {size}", "int4")


@pytest.mark.parametrize(("kind", "part"), [("int8", "weight"), ("codebook", "codebook"), ("float32", "weight")])
def test_the_kind_says_which_tensors_there_are(victim, kind, part):
    victim.config["linears"][NAME] |= {"kind": kind, "group_size": 0, "input_factor": False}
    victim.refused(f"'{NAME}.{part}' is missing")


@pytest.mark.parametrize(("name", "part"), [(NAME, "codes"), (NAME, "multiplier"), (CODEBOOK, "codebook")])
def test_dtypes_and_shapes(victim, name, part):
    for change in ({"dtype": "F32"}, {"shape": [-1]}, {"shape": []}, {"shape": [2**63]}, {"shape": None}):
        spoiled = victim.copy()
        spoiled.header[f"{name}.{part}"].update(change)
        spoiled.refused(f"'{name}.{part}'", "calls for")


@pytest.mark.parametrize("name", [NAME, CODEBOOK])
def test_sums_are_there_where_the_config_says_so(victim, name):
    victim.config["linears"][name]["weight_sum"] = True
    victim.refused(f"'{name}.weight_sum' is missing")
    victim.config["linears"]["layers.1.ffn.down"]["weight_sum"] = True
    victim.refused("'layers.1.ffn.down'", "weight_sum is for matrices of four bits, not for int8")


def test_any_code_is_a_weight(victim):
    """Even one that no writer writes: what it stands for lies within a byte, and nothing looks beyond 16 values."""
    from minibert.reference.linear import int8_weight

    for name in (NAME, CODEBOOK):
        victim.tensor(f"{name}.codes")[...] = np.random.default_rng(0).integers(0, 256, 1)
        victim.tensor(f"{name}.codes").reshape(-1)[:256] = np.arange(256)
    file = victim.read()
    for name in (NAME, CODEBOOK):
        assert int8_weight(name, file.config.linears[name], file.tensors).dtype == np.int8


def test_writer_names_what_is_wrong(tmp_path):
    config = CONFIGS["four_bit"]
    tensors = make_tensors(config)
    path = tmp_path / "model.safetensors"
    codes, multiplier = tensors[f"{NAME}.codes"], tensors[f"{NAME}.multiplier"]
    low, high, much, least = codes.copy(), codes.copy(), multiplier.copy(), tensors[f"{CODEBOOK}.codebook"].copy()
    low[2, 3, 4, 1] = 0x18
    high[2, 3, 4, 1] = 0x81
    much[1, 2, 3] = 19
    least[0, 3] = -128
    for name, tensor, words in (
        (f"{NAME}.codes", low, "holds -8"),
        (f"{NAME}.codes", high, "holds -8"),
        (f"{NAME}.codes", codes.view(np.int8), "calls for"),
        (f"{NAME}.multiplier", much, "output 19 and group 2 "),
        (f"{NAME}.multiplier", multiplier[:, 1:], "calls for"),
        (f"{CODEBOOK}.codebook", least, "-128"),
        (f"{NAME}.weight_sum", np.zeros(48, np.int32), "not one that the config calls for"),
        (f"{SUMMED}.weight_sum", tensors[f"{SUMMED}.weight_sum"] + 1, "sums"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            write_model(path, config, {**tensors, name: tensor})
        assert f"'{name}'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
