"""Low-rank parts that do not fit the matrix that they belong to."""

from __future__ import annotations

import pytest

from minibert.errors import FormatError
from minibert.format import Linear, expected_tensors
from tests.format.forge import Forge
from tests.format.models import CONFIGS

NAME = "layers.0.ffn.up"  # 48 inputs, 52 outputs, of rank 5
DOWN, UP = f"{NAME}.low_rank.down", f"{NAME}.low_rank.up"


@pytest.fixture
def victim(model_files, tmp_path) -> Forge:
    return Forge(model_files["low_rank"].read_bytes(), tmp_path)


def test_the_victim_is_what_these_tests_take_it_for(victim):
    linears = victim.config["linears"]
    assert (linears[DOWN]["in_features"], linears[DOWN]["out_features"]) == (48, 5)
    assert (linears[UP]["in_features"], linears[UP]["out_features"]) == (16, 52)
    victim.read()


@pytest.mark.parametrize(("name", "other"), [(DOWN, UP), (UP, DOWN)])
def test_one_half_alone(victim, name, other):
    del victim.config["linears"][other]
    victim.refused(f"lacks '{other}'")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(DOWN, "in_features", 64), (DOWN, "out_features", 20), (UP, "in_features", 32), (UP, "out_features", 48)],
)
def test_sizes_that_do_not_meet(victim, name, key, value):
    victim.config["linears"][name][key] = value
    victim.refused("config.linears", key if name == UP or key == "in_features" else "in_features")


@pytest.mark.parametrize("name", [DOWN, UP])
def test_kinds_of_numbers_do_not_mix(victim, name):
    victim.config["linears"][name] |= {"kind": "float32", "input_factor": False}
    victim.refused(f"'{name}'", "kind is float32")


def test_factors_of_its_own(victim):
    victim.config["linears"][DOWN]["input_factor"] = True
    victim.refused(f"'{DOWN}'", "input_factor")


def test_parts_of_parts_and_of_nothing(victim):
    for name in (f"{DOWN}.low_rank", "layers.9.ffn.up.low_rank", "layers.0.ffn.low_rank"):
        spoiled = victim.copy()
        spoiled.config["linears"][f"{name}.down"] = spoiled.config["linears"][DOWN]
        spoiled.config["linears"][f"{name}.up"] = spoiled.config["linears"][UP]
        spoiled.refused("which the architecture has no place for")


def test_gated_matrices_have_none():
    from dataclasses import replace

    config = CONFIGS["low_rank"]
    linears = dict(config.linears)
    for number in range(3):
        linears[f"layers.{number}.ffn.up"] = replace(linears[f"layers.{number}.ffn.up"], out_features=128)
        linears[f"layers.{number}.ffn.up.low_rank.up"] = Linear("int8", 16, 128)
    gated = replace(config, linears=linears, architecture=replace(config.architecture, gated=True))
    with pytest.raises(FormatError, match="a gated linear has no low-rank part"):
        expected_tensors(gated)
