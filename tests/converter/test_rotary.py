"""Scaled rotary positions: frequencies and factors as transformers, or the code of GTE's checkpoints, has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.rotary import Rotary, read_rotary
from minibert_converter.checkpoints.sizes import Sizes
from tests.checkpoints import write_json
from tests.families import SETUPS, golden, write_family

SIZES = Sizes(hidden_size=64, num_layers=2, num_heads=2, ffn_size=64, vocab_size=100, max_positions=128)
PAIRS = np.arange(0, 32, 2) / 32
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
#: What transformers knows, with the fifth frequency and the factor that it computes.
SCALED: list[tuple[dict[str, Any], float, float]] = [
    ({"rope_type": "linear", "factor": 4.0}, 0.07905694, 1),
    ({"type": "linear", "factor": 0.5}, 0.6324555, 1),
    (YARN, 0.1581139, 1.138629),
    (YARN | {"beta_fast": 8, "beta_slow": 2, "truncate": False}, 0.07905694, 1.138629),
    (YARN | {"attention_factor": 0.7}, 0.1581139, 0.7),
    (YARN | {"mscale": 0.5, "mscale_all_dim": 0.2}, 0.1581139, 1.040467),
    (LLAMA | {"original_max_position_embeddings": 64}, 0.2443846, 1),
    (LLAMA, 0.3162278, 1),
    ({"rope_type": "proportional", "partial_rotary_factor": 0.5}, 0.3162278, 1),
]


def rotary(folder: Path, values: dict[str, Any], **options: Any) -> Rotary:
    write_json(folder / "config.json", values)
    return read_rotary(ConfigFile(Folder(folder)), SIZES, "rope_theta", 10000.0, **options)


@pytest.mark.parametrize(("scaling", "fifth", "factor"), SCALED)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_tables_of_transformers(tmp_path, key, scaling, fifth, factor):
    made = rotary(tmp_path, {key: scaling, "rope_theta": 100.0})
    assert made.base == 0
    assert made.frequencies[4] == pytest.approx(fifth, rel=1e-5)
    assert made.factor == pytest.approx(factor)
    transformers = pytest.importorskip("transformers")
    torch_functions = pytest.importorskip("transformers.modeling_rope_utils").ROPE_INIT_FUNCTIONS
    config = transformers.GteConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=128, rope_theta=100.0, **{key: dict(scaling)}
    )
    wanted, temperature = torch_functions[config.rope_parameters["rope_type"]](config)
    np.testing.assert_allclose(made.frequencies, wanted.numpy(), rtol=1e-6)
    assert made.factor == pytest.approx(temperature)


@pytest.mark.parametrize("scaling", [{"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "linear", "factor": 1.0}])
def test_what_changes_nothing_is_a_base(tmp_path, scaling):
    """Dynamic scaling begins behind the longest text of the model, whatever else is in the batch."""
    assert rotary(tmp_path, {"rope_parameters": scaling | {"rope_theta": 500.0}}) == Rotary(500.0)


@pytest.mark.parametrize("values", [{"factor": 2.0}, {"factor": 8.0, "mixed_b": 0.625}, {"factor": 1.0}])
def test_ntk_of_gte(tmp_path, values):
    """As Alibaba-NLP/new-impl computes it, whose table is made for more positions than the model has."""
    made = rotary(tmp_path, {"rope_scaling": {"type": "ntk", **values}, "rope_theta": 500000}, ntk=True)
    k = values["factor"]
    if k == 1:
        assert made == Rotary(500000.0)
        return
    wanted = (500000.0 * k) ** -PAIRS / k ** (2 / 32)
    if b := values.get("mixed_b"):
        a = np.log(k) / 16**b
        wanted = 500000.0**-PAIRS / np.exp(a * np.arange(1, 17) ** b)
    np.testing.assert_allclose(made.frequencies, wanted, rtol=1e-6)
    assert made.factor == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_scaling": {"type": "ntk", "factor": 2.0}}, r"rope_scaling is \{'type': 'ntk'.*supported are"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "rope_parameters is .*longrope"),
        ({"rope_parameters": {"rope_type": ["linear"], "factor": 2.0}}, "rope_parameters is"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
            "rope_scaling is .*partial",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.5}, "rope_scaling is"),
        ({"partial_rotary_factor": 0.5}, "of all features of a head"),
    ],
)
def test_scalings_that_are_not_known(tmp_path, values, message):
    with pytest.raises(UnsupportedError, match=message):
        rotary(tmp_path, values)


def test_scalings_of_some_layers_stand_in_rope_parameters(tmp_path):
    values = {"full_attention": {"rope_theta": 100.0, "rope_type": "default"}}
    assert rotary(tmp_path, {"rope_parameters": values}, kind="full_attention").base == 100
    with pytest.raises(UnsupportedError, match=r"rope_scaling is .*full_attention"):
        rotary(tmp_path, {"rope_scaling": values}, kind="full_attention")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', but must be an object"),
        ({"rope_scaling": {"type": "linear"}}, "factor is a number above 0"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor is a number above 0"),
        ({"rope_scaling": {"type": "linear", "factor": 1e-8}}, "frequencies up to 1024"),
        ({"rope_scaling": LLAMA | {"high_freq_factor": 1.0}}, "low_freq_factor is below"),
        ({"rope_theta": 1}, "rope_theta is 1, but must be a base above 1"),
    ],
)
def test_numbers_that_are_none(tmp_path, values, message):
    with pytest.raises(CheckpointError, match=message):
        rotary(tmp_path, values)


def test_gte_base_en_and_multilingual_are_read(tmp_path):
    """Their config.json: NTK and the code they were published with."""
    folder = write_family(tmp_path / "checkpoint", "gte", "fill-mask", golden()["gte"])
    config = {
        name: value for name, value in SETUPS["gte"]["config"].items() if name not in ("rope_parameters", "num_labels")
    }
    write_json(
        folder / "config.json",
        config
        | {
            "model_type": "new",
            "architectures": ["NewForMaskedLM"],
            "auto_map": {"AutoModelForMaskedLM": "Alibaba-NLP/new-impl--modeling.NewForMaskedLM"},
            "rope_scaling": {"factor": 2.0, "type": "ntk"},
            "rope_theta": 500000,
        },
    )
    network = read_checkpoint(folder)
    assert {(layer.rotary_base, layer.rotary) for layer in network.architecture.layers} == {(0.0, 1)}
    (frequencies,) = network.architecture.rotary_frequencies
    np.testing.assert_allclose(frequencies, 1e6**-PAIRS / 2 ** (1 / 16), rtol=1e-6)
    assert not any("config.json" in note for note in network.notes)
