"""Reading checkpoint folders: every form that they come in, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.network import LinearWeights, Network
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json
from tests.torch_zip import write_torch_file


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def rewrite(folder: Path, weights: dict[str, np.ndarray]) -> None:
    save_file(weights, folder / "model.safetensors")


def change_config(folder: Path, **values) -> None:
    config = {**CONFIG, **values}
    write_json(folder / "config.json", {key: value for key, value in config.items() if value is not None})


def weight(network: Network, name: str) -> np.ndarray:
    linear = network.linears[name]
    assert isinstance(linear, LinearWeights)
    return linear.weight


def assert_same_weights(one: Network, other: Network, atol: float = 0.0) -> None:
    assert one.architecture == other.architecture
    for name in other.linears:
        np.testing.assert_allclose(weight(one, name), weight(other, name), rtol=0, atol=atol)
        np.testing.assert_allclose(one.linears[name].bias, other.linears[name].bias, rtol=0, atol=atol)
    for name, table in other.tables.items():
        np.testing.assert_allclose(one.tables[name], table, rtol=0, atol=atol)
    for name, norm in other.norms.items():
        np.testing.assert_allclose(one.norms[name].weight, norm.weight, rtol=0, atol=atol)


# ---- what is read


def test_parts_have_the_shapes_of_the_file(folder):
    network = read_checkpoint(folder)
    assert network.architecture.hidden_size == 96
    assert weight(network, "layers.0.attention.qkv").shape == (288, 96)
    assert weight(network, "layers.1.attention.output").shape == (96, 96)
    assert weight(network, "layers.1.ffn.up").shape == (100, 96)
    assert weight(network, "layers.1.ffn.down").shape == (96, 112)
    assert weight(network, "head.output").shape == (3, 96)
    assert not weight(network, "layers.1.ffn.down")[:, 100:].any()
    assert network.task.labels == ("bad", "so-so", "good")
    assert network.text.max_length == 48
    assert sum(origin.parameters for origin in network.origins.values()) == sum(
        values.size for values in bert_weights(CONFIG).values()
    )


def test_heads_are_padded_in_rows_of_qkv_and_columns_of_output(tmp_path):
    config = {**CONFIG, "hidden_size": 60, "num_attention_heads": 3}  # heads of 20, padded to 32; hidden to 64
    weights = bert_weights(config)
    network = read_checkpoint(write_checkpoint(tmp_path, config, weights))
    qkv = weight(network, "layers.0.attention.qkv").reshape(3, 3, 32, 64)
    key = weights["bert.encoder.layer.0.attention.self.key.weight"]
    np.testing.assert_array_equal(qkv[1, 2, :20, :60], key[40:60])
    assert not qkv[:, :, 20:].any()
    assert not qkv[..., 60:].any()
    output = weight(network, "layers.0.attention.output").reshape(60, 3, 32)
    source = weights["bert.encoder.layer.0.attention.output.dense.weight"]
    np.testing.assert_array_equal(output[:, 1, :20], source[:, 20:40])
    assert not output[..., 20:].any()


def test_half_precision_is_widened(folder):
    full = read_checkpoint(folder)
    rewrite(folder, {name: values.astype(np.float16) for name, values in bert_weights(CONFIG).items()})
    half = read_checkpoint(folder)
    assert_same_weights(half, full, atol=2e-3)
    assert half.origins["head.output"].bytes * 2 == full.origins["head.output"].bytes
    assert weight(half, "head.output").dtype == np.float32


def write_bfloat16(path: Path, weights: dict[str, np.ndarray]) -> None:
    """By hand: NumPy has no bfloat16 to save."""
    header, blobs, offset = {}, [], 0
    for name, values in weights.items():
        blob = (np.ascontiguousarray(values).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def test_bfloat16_is_widened_exactly(folder):
    weights = bert_weights(CONFIG)
    write_bfloat16(folder / "model.safetensors", weights)
    network = read_checkpoint(folder)
    source = weights["classifier.weight"]
    expected = (source.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(weight(network, "head.output"), expected)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_pytorch_bin_is_read_without_torch(folder, bfloat16):
    full = read_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    write_torch_file(folder / "pytorch_model.bin", bert_weights(CONFIG), bfloat16=bfloat16)
    assert_same_weights(read_checkpoint(folder), full, atol=0.04 if bfloat16 else 0.0)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(folder, kind):
    full = read_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    weights = bert_weights(CONFIG)
    whole, stem = ("model.safetensors", "model") if kind == "safetensors" else ("pytorch_model.bin", "pytorch_model")
    weight_map = {}
    for shard in range(3):
        file = f"{stem}-{shard + 1:05}-of-00003.{kind}"
        part = {name: weights[name] for name in list(weights)[shard::3]}
        weight_map |= dict.fromkeys(part, file)
        if kind == "bin":
            write_torch_file(folder / file, part)
        else:
            save_file(part, folder / file)
    write_json(folder / f"{whole}.index.json", {"metadata": {}, "weight_map": weight_map})
    assert_same_weights(read_checkpoint(folder), full)

    (folder / f"{stem}-00002-of-00003.{kind}").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00003"):
        read_checkpoint(folder)


def test_names_without_prefix_and_with_old_endings(folder):
    full = read_checkpoint(folder)
    renamed = {}
    for name, values in bert_weights(CONFIG).items():
        name = name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma")
        renamed[name.replace("LayerNorm.bias", "LayerNorm.beta")] = values
    rewrite(folder, renamed)
    assert_same_weights(read_checkpoint(folder), full)


def test_missing_token_types_are_none(folder):
    rewrite(folder, {name: values for name, values in bert_weights(CONFIG).items() if "token_type" not in name})
    network = read_checkpoint(folder)
    assert network.architecture.token_types == 0
    assert "embeddings.token_type" not in network.tables
    assert any("token types" in note for note in network.notes)


# ---- which task


def test_task_is_guessed_and_stated(folder):
    network = read_checkpoint(folder)
    assert network.task.kind == "text-classification"
    assert any("BertForSequenceClassification" in note for note in network.notes)


def test_bare_encoder_without_pooler_gives_mean_vectors(folder):
    change_config(folder, architectures=["BertModel"])
    weights = bert_weights(CONFIG, labels=None)
    rewrite(folder, {name: values for name, values in weights.items() if "pooler" not in name})
    network = read_checkpoint(folder)
    assert (network.task.kind, network.architecture.pooling) == ("sentence-embedding", "mean")
    assert not network.architecture.normalize
    assert any("mean over tokens" in note for note in network.notes)


def test_task_can_be_given(folder):
    network = read_checkpoint(folder, "sentence-embedding")
    assert network.architecture.head == ()
    assert any("classifier.weight" in note for note in network.notes)
    with pytest.raises(UnsupportedError, match="text-classification, sentence-embedding, token-classification"):
        read_checkpoint(folder, "translation")


@pytest.mark.parametrize(
    ("labels", "problem_type", "expected"),
    [
        (3, None, "single_label"),
        (3, "multi_label_classification", "multi_label"),
        (1, None, "multi_label"),
        (1, "regression", "regression"),
    ],
)
def test_problem_types(folder, labels, problem_type, expected):
    change_config(folder, problem_type=problem_type, id2label=None)
    rewrite(folder, bert_weights(CONFIG, labels))
    network = read_checkpoint(folder)
    assert network.task.problem_type == expected
    assert network.task.labels == tuple(f"LABEL_{index}" for index in range(labels))


@pytest.mark.parametrize(
    ("function", "expected"), [("torch.nn.modules.linear.Identity", "regression"), ("torch.nn.Sigmoid", "multi_label")]
)
def test_cross_encoders_say_what_becomes_of_their_output(folder, function, expected):
    rewrite(folder, bert_weights(CONFIG, 1))
    change_config(folder, id2label=None, sentence_transformers={"activation_fn": function})
    assert read_checkpoint(folder).task.problem_type == expected
    change_config(folder, id2label=None, sbert_ce_default_activation_function=function)
    assert read_checkpoint(folder).task.problem_type == expected


def test_labels_come_in_order_of_their_index(folder):
    change_config(folder, id2label={"2": "c", "0": "a", "1": "b"})
    assert read_checkpoint(folder).task.labels == ("a", "b", "c")


def test_labels_must_match_the_classifier(folder):
    change_config(folder, id2label={"0": "a", "1": "b"})
    with pytest.raises(CheckpointError, match=r"id2label.*3 outputs"):
        read_checkpoint(folder)


# ---- what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value):
    weights = bert_weights(CONFIG)
    weights["bert.encoder.layer.1.output.dense.weight"][3, 5] = value
    rewrite(folder, weights)
    with pytest.raises(CheckpointError, match=r"bert\.encoder\.layer\.1\.output\.dense\.weight.*1 values.*NaN"):
        read_checkpoint(folder)


def test_missing_tensors_are_named(folder):
    weights = bert_weights(CONFIG)
    del weights["bert.encoder.layer.1.output.dense.bias"]
    rewrite(folder, weights)
    with pytest.raises(CheckpointError, match=r"1 tensors are missing: 'encoder\.layer\.1\.output\.dense\.bias'"):
        read_checkpoint(folder)


def test_classifier_without_pooler_is_refused(folder):
    rewrite(folder, {name: values for name, values in bert_weights(CONFIG).items() if "pooler" not in name})
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.weight"):
        read_checkpoint(folder)


def test_tensors_of_another_network_are_named(folder):
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"16 tensors are no part.*encoder\.layer\.1"):
        read_checkpoint(folder)


def test_wrong_shapes_are_named(folder):
    change_config(folder, intermediate_size=101)
    with pytest.raises(CheckpointError, match=r"intermediate\.dense\.weight.*\[100, 96\].*\[101, 96\]"):
        read_checkpoint(folder)


def test_the_same_weights_twice_are_refused(folder):
    weights = bert_weights(CONFIG)
    weights["pooler.dense.bias"] = weights["bert.pooler.dense.bias"] + 1
    rewrite(folder, weights)
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias.*same weights"):
        read_checkpoint(folder)


def test_integer_weights_are_refused(folder):
    weights = bert_weights(CONFIG)
    weights["classifier.weight"] = np.ones((3, 96), np.int8)
    rewrite(folder, weights)
    with pytest.raises(CheckpointError, match=r"classifier\.weight.*I8"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"model_type": "gpt2"},
            UnsupportedError,
            "model_type 'gpt2'.*supported are albert, bert, camembert, .*xlm-roberta",
        ),
        ({"architectures": ["BertLMHeadModel"]}, UnsupportedError, "BertLMHeadModel.*BertForSequenceClassification"),
        ({"architectures": None}, CheckpointError, "names no architectures"),
        ({"hidden_act": "quick_gelu"}, UnsupportedError, "quick_gelu.*gelu"),
        ({"position_embedding_type": "relative_key"}, UnsupportedError, "relative_key"),
        ({"position_embedding_type": "alibi"}, UnsupportedError, "feed_forward_type is None"),
        ({"model_type": "mobilebert"}, UnsupportedError, "supported are albert"),
        ({"is_decoder": True}, UnsupportedError, "is_decoder"),
        ({"quantization_config": {"bits": 4}}, UnsupportedError, "already quantized"),
        ({"num_attention_heads": 5}, CheckpointError, "5, which does not divide"),
        ({"hidden_size": "96"}, CheckpointError, "hidden_size is '96'"),
        ({"hidden_size": True}, CheckpointError, "hidden_size"),
        ({"num_hidden_layers": 0}, CheckpointError, "num_hidden_layers is 0"),
        ({"num_hidden_layers": -1}, CheckpointError, "num_hidden_layers is -1"),
        ({"layer_norm_eps": "small"}, CheckpointError, "layer_norm_eps"),
        ({"layer_norm_eps": float("nan")}, CheckpointError, "layer_norm_eps"),
        ({"id2label": ["a", "b", "c"]}, CheckpointError, "id2label"),
        ({"problem_type": "guess"}, CheckpointError, "problem_type"),
        ({"architectures": "BertModel"}, CheckpointError, "architectures"),
    ],
)
def test_configs_that_cannot_be_used(folder, values, error, message):
    change_config(folder, **values)
    with pytest.raises(error, match=message):
        read_checkpoint(folder)


def test_old_configs_without_model_type_are_known_by_their_architecture(folder):
    change_config(folder, model_type=None)
    assert read_checkpoint(folder).architecture.model_type == "bert"
    change_config(folder, model_type=None, architectures=["Unheard"])
    with pytest.raises(CheckpointError, match="neither model_type"):
        read_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'"text"', b"[" * 100_000])
def test_broken_config_json(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_checkpoint(folder)


def test_wrong_folders(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        read_checkpoint("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(CheckpointError, match="a file; give the folder"):
        read_checkpoint(folder / "model.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json.*holds nothing"):
        read_checkpoint(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights; looked for model\.safetensors"):
        read_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1, -4000])
def test_truncated_safetensors(folder, keep):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_checkpoint(folder)


def test_pointer_of_git_lfs(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_checkpoint(folder)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "absent.safetensors", ""])
def test_shards_outside_the_folder_are_refused(folder, shard):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"classifier.weight": shard}})
    with pytest.raises(CheckpointError, match="not a file in this folder"):
        read_checkpoint(folder)


# ---- real ones


@pytest.mark.parametrize(("name", "labels"), [("sst2-minilm", 2), ("banking77-minilm", 77)])
def test_real_classifiers(shared, name, labels):
    network = read_checkpoint(shared / "models" / name)
    assert len(network.task.labels) == labels
    assert network.text.max_length == 512
    assert sum(origin.parameters for origin in network.origins.values()) == 22_713_216 + 385 * labels


def test_token_classification(shared):
    network = read_checkpoint(shared / "models/wnut17-minilm")
    assert network.task.kind == "token-classification"
    assert network.architecture.pooling == "none"
    assert len(network.task.labels) == network.linears["head.output"].weight.shape[0] == 13
