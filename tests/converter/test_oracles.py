"""Encoders that transformers lacks, against what tests/oracles.py makes of the code of their checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibert.engine import Engine
from minibert.engine.library import can_compile
from minibert.errors import CheckpointError, UnsupportedError
from minibert.format import read_model
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests.checkpoints import WORDS
from tests.oracles import ORACLES

CALIBRATION = [" ".join(np.random.RandomState(seed).permutation(WORDS.split())[:30]) for seed in range(8)]
JINA, NEOBERT = ORACLES["jina-v2"], ORACLES["neobert"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("jina-v2", {}),
        ("jina-v2", {"num_attention_heads": 8, "feed_forward_type": "reglu"}),
        ("jina-v2", {"num_attention_heads": 3}),
        ("neobert", {}),
        ("neobert", {"num_attention_heads": 4, "norm_eps": 0.1}),
    ],
)
def test_answers_are_those_of_the_code(tmp_path, name, values):
    """float32: nearly; int8: near, and in the kernels with the bits of NumPy."""
    oracle = ORACLES[name]
    folder = oracle.write(tmp_path / "checkpoint", **values)
    wanted = oracle.vectors(*oracle.texts(), **values)
    for quantize, tolerance in (("none", 2e-5), ("int8", 0)):
        path = tmp_path / f"{quantize}.safetensors"
        convert(folder, path, quantize=quantize, calibrate=CALIBRATION if quantize == "int8" else None)
        made = Engine(read_model(path), backend="numpy").forward(*oracle.texts())
        if tolerance:
            np.testing.assert_allclose(made, wanted, rtol=0, atol=tolerance)
        else:
            assert np.sqrt(np.square(made - wanted).mean()) < 0.1 * wanted.std()
        if can_compile():
            kernels = Engine(read_model(path), threads=1).forward(*oracle.texts())
            np.testing.assert_allclose(kernels, made, rtol=0, atol=tolerance)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_jina_says_how_vectors_are_pooled(tmp_path, pooling):
    network = read_checkpoint(JINA.write(tmp_path / "checkpoint", emb_pooler=pooling))
    assert network.architecture.pooling == pooling


def test_masked_words_of_neobert(tmp_path):
    folder = NEOBERT.write(tmp_path / "checkpoint", architectures=["NeoBERTLMHead"])
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    ids, types = [[2, 50, 60, 3]], [[0] * 4]
    made = Engine(read_model(tmp_path / "model.safetensors"), backend="numpy").forward(ids, types)
    weights = NEOBERT.weights()
    rows = NEOBERT.rows(weights, NEOBERT.config, ids[0], types[0])
    np.testing.assert_allclose(made, rows @ weights["decoder.weight"].T + weights["decoder.bias"], atol=2e-5)


def test_all_positions_of_the_config_have_biases(tmp_path):
    network = read_checkpoint(JINA.write(tmp_path / "checkpoint"))
    assert network.architecture.max_positions == 8192
    assert network.aliases["layers.1.attention.position_bias"] == "layers.0.attention.position_bias"
    (biases,) = network.attention_tables.values()
    middle = biases.shape[1] // 2 - 8
    np.testing.assert_allclose(biases[0, middle - 8191 : middle + 8192 : 8191] * np.log(2), [-2047.75, 0, -2047.75])


@pytest.mark.parametrize("name", ORACLES)
def test_all_of_the_config_is_known(tmp_path, name):
    network = read_checkpoint(ORACLES[name].write(tmp_path / "checkpoint"))
    assert not [note for note in network.notes if "config.json" in note]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("jina-v2", {"feed_forward_type": "original"}, "feed_forward_type is 'original'; supported are geglu, reglu"),
        ("jina-v2", {"feed_forward_type": None}, "feed_forward_type is None"),
        ("jina-v2", {"auto_map": {"AutoModel": "modeling.OtherModel"}}, "auto_map gives AutoModel"),
        (
            "jina-v2",
            {"auto_map": {"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"}},
            "qk-post-norm, whose queries and keys have LayerNorms",
        ),
        ("neobert", {"rope_theta": 5000}, "rope_theta is 5000"),
        ("neobert", {"ngpt": True}, "ngpt is True"),
        ("neobert", {"auto_map": {"AutoModel": "model.OtherBERT"}}, "auto_map gives AutoModel"),
    ],
)
def test_other_networks_of_that_name(tmp_path, name: str, values: dict[str, Any], message: str):
    with pytest.raises(UnsupportedError, match=message):
        read_checkpoint(ORACLES[name].write(tmp_path / "checkpoint", **values))


@pytest.mark.parametrize(
    ("name", "bias", "size"),
    [
        ("jina-v2", "encoder.layer.1.attention.self.key.bias", 0),
        ("jina-v2", "encoder.layer.0.mlp.gated_layers.bias", 200),
        ("neobert", "model.transformer_encoder.0.wo.bias", 96),
        ("neobert", "model.layer_norm.bias", 96),
    ],
)
def test_biases_are_there_or_not(tmp_path, name, bias, size):
    weights = ORACLES[name].weights()
    there = "there is" if size else "there is no"
    weights = weights | {bias: np.zeros(size, np.float32)} if size else {k: v for k, v in weights.items() if k != bias}
    with pytest.raises(CheckpointError, match=f"{there} '{bias.removeprefix('model.')}'"):
        read_checkpoint(ORACLES[name].write(tmp_path / "checkpoint", weights))
