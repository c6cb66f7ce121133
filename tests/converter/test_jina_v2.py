"""jina-embeddings-v2, whose network is not in transformers, against tests/oracles.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from minibert.engine import Engine
from minibert.engine.library import can_compile
from minibert.errors import CheckpointError, UnsupportedError
from minibert.format import read_model
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests.checkpoints import WORDS, write_json
from tests.families import checkpoint_weights, write_tokenizer_json
from tests.oracles import jina_v2

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["JinaBertModel"],
    "auto_map": {
        "AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig",
        "AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel",
    },
    "position_embedding_type": "alibi",
    "feed_forward_type": "geglu",
    "emb_pooler": "mean",
    "attn_implementation": "torch",
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 100,
    "max_position_embeddings": 8192,
    "layer_norm_eps": 1e-12,
    "vocab_size": 203,
    "type_vocab_size": 2,
}
CALIBRATION = [" ".join(np.random.RandomState(seed).permutation(WORDS.split())[:30]) for seed in range(8)]


def weights_of(config: dict[str, Any]) -> dict[str, np.ndarray]:
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": [config["vocab_size"], hidden],
        "embeddings.token_type_embeddings.weight": [2, hidden],
        "pooler.dense.weight": [hidden, hidden],
        "pooler.dense.bias": [hidden],
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{name}.attention.{part}.weight"] = [hidden, hidden]
            shapes[f"{name}.attention.{part}.bias"] = [hidden]
        shapes[f"{name}.mlp.gated_layers.weight"] = [2 * ffn, hidden]
        shapes[f"{name}.mlp.wo.weight"] = [hidden, ffn]
        shapes[f"{name}.mlp.wo.bias"] = [hidden]
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.mlp.layernorm"]
    shapes |= {f"{name}.{part}": [hidden] for name in norms for part in ("weight", "bias")}
    return checkpoint_weights(shapes)


def checkpoint(folder: Path, weights: dict[str, np.ndarray] | None = None, **values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    config = {key: value for key, value in {**CONFIG, **values}.items() if value is not None}
    write_json(folder / "config.json", config)
    save_file(weights_of(CONFIG | values) if weights is None else weights, folder / "model.safetensors")
    write_tokenizer_json(folder, 203)
    return folder


def texts() -> tuple[list[list[int]], list[list[int]]]:
    """One longer than a block of keys, a pair, an empty one."""
    random = np.random.RandomState(3)
    ids = [[2, *random.randint(5, 203, count).tolist(), 3] for count in (300, 20, 0)]
    return ids, [[0] * 302, [0] * 12 + [1] * 10, [0, 0]]


@pytest.mark.parametrize(("heads", "kind"), [(6, "geglu"), (8, "reglu"), (3, "geglu")])
def test_answers_are_those_of_the_code(tmp_path, heads, kind):
    values = {"num_attention_heads": heads, "feed_forward_type": kind}
    folder = checkpoint(tmp_path / "checkpoint", **values)
    wanted = np.stack(
        [jina_v2(weights_of(CONFIG), CONFIG | values, *text).mean(axis=0) for text in zip(*texts(), strict=True)]
    )
    for quantize, tolerance in (("none", 2e-5), ("int8", None)):
        path = tmp_path / f"{quantize}.safetensors"
        convert(folder, path, quantize=quantize, calibrate=CALIBRATION if quantize == "int8" else None)
        made = Engine(read_model(path), backend="numpy").forward(*texts())
        if tolerance:
            np.testing.assert_allclose(made, wanted, rtol=0, atol=tolerance)
        else:
            assert np.sqrt(np.square(made - wanted).mean()) < 0.1 * wanted.std()
        if can_compile():
            kernels = Engine(read_model(path), threads=1).forward(*texts())
            np.testing.assert_allclose(kernels, made, rtol=0, atol=tolerance or 0)


def test_all_positions_of_the_config_have_biases(tmp_path):
    network = read_checkpoint(checkpoint(tmp_path / "checkpoint"))
    assert not [note for note in network.notes if "config.json" in note]
    assert network.architecture.max_positions == 8192
    assert network.aliases["layers.1.attention.position_bias"] == "layers.0.attention.position_bias"
    (biases,) = network.attention_tables.values()
    middle = biases.shape[1] // 2 - 8
    np.testing.assert_allclose(biases[0, middle - 8191 : middle + 8192 : 8191] * np.log(2), [-2047.75, 0, -2047.75])


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"feed_forward_type": "original"},
            UnsupportedError,
            "feed_forward_type is 'original'; supported are geglu, reglu",
        ),
        ({"feed_forward_type": None}, UnsupportedError, "feed_forward_type is None"),
        ({"auto_map": {"AutoModel": "modeling.OtherModel"}}, UnsupportedError, "auto_map gives AutoModel"),
        (
            {"auto_map": {"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"}},
            UnsupportedError,
            "qk-post-norm, whose queries and keys have LayerNorms",
        ),
    ],
)
def test_other_networks_of_that_name(tmp_path, values, error, message):
    with pytest.raises(error, match=message):
        read_checkpoint(checkpoint(tmp_path / "checkpoint", weights_of(CONFIG), **values))


def test_biases_are_there_or_not(tmp_path):
    weights = weights_of(CONFIG)
    without = {name: value for name, value in weights.items() if name != "encoder.layer.1.attention.self.key.bias"}
    with pytest.raises(CheckpointError, match=r"there is no 'encoder.layer.1.attention.self.key.bias'"):
        read_checkpoint(checkpoint(tmp_path / "one", without))
    more = weights | {"encoder.layer.0.mlp.gated_layers.bias": np.zeros(200, np.float32)}
    with pytest.raises(CheckpointError, match=r"there is 'encoder.layer.0.mlp.gated_layers.bias'"):
        read_checkpoint(checkpoint(tmp_path / "two", more))
