"""Folders of sentence-transformers, old and new."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import minibert
from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json
from tests.pipelines import write_task
from tests.torch_zip import write_torch_file

GOLDEN = Path(__file__).parents[1] / "golden/sentence"


def module(kind: str, path: str) -> dict:
    return {"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}


def pooling_flags(*modes: str) -> dict:
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return {"word_embedding_dimension": 96} | {f"pooling_mode_{name}": name in modes for name in names}


@pytest.fixture
def folder(tmp_path) -> Path:
    """As sentence-transformers 2 saved it, with two projections."""
    home = write_checkpoint(tmp_path, {**CONFIG, "architectures": ["BertModel"]}, bert_weights(CONFIG, labels=None))
    names = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Dense", "3_Dense")]
    write_json(home / "modules.json", [module(*name) for name in [*names, ("Normalize", "4_Normalize")]])
    write_json(home / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    for name in ("1_Pooling", "2_Dense", "3_Dense"):
        (home / name).mkdir()
    write_json(home / "1_Pooling/config.json", pooling_flags("cls_token"))
    random = np.random.RandomState(0)
    for name, inputs, outputs, activation in (
        ("2_Dense", 96, 20, "activation.ReLU"),
        ("3_Dense", 20, 8, "linear.Identity"),
    ):
        config = {"in_features": inputs, "out_features": outputs, "bias": name == "2_Dense"}
        write_json(home / name / "config.json", config | {"activation_function": f"torch.nn.modules.{activation}"})
        weights = {"linear.weight": random.standard_normal((outputs, inputs)).astype(np.float32)}
        if name == "2_Dense":
            weights["linear.bias"] = random.standard_normal(outputs).astype(np.float32)
        write_torch_file(home / name / "pytorch_model.bin", weights)
    return home


def test_modules_become_pooling_head_and_normalize(folder):
    network = read_checkpoint(folder)
    architecture = network.architecture
    assert (network.task.kind, architecture.pooling, architecture.normalize) == ("sentence-embedding", "cls", True)
    assert [(layer.name, layer.activation) for layer in architecture.head] == [
        ("head.projection.0", "relu"),
        ("head.projection.1", "none"),
    ]
    assert network.linears["head.projection.0"].schema().out_features == 20
    assert network.linears["head.projection.1"].schema().in_features == 32
    assert not network.linears["head.projection.1"].bias.any()
    assert network.text.max_length == 40


@pytest.mark.parametrize(
    ("mode", "expected"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max"), ("lasttoken", "last")]
)
def test_poolings(folder, mode, expected):
    write_json(folder / "1_Pooling/config.json", pooling_flags(mode))
    assert read_checkpoint(folder).architecture.pooling == expected
    write_json(folder / "1_Pooling/config.json", {"embedding_dimension": 96, "pooling_mode": mode.split("_")[0]})
    assert read_checkpoint(folder).architecture.pooling == expected


@pytest.mark.parametrize(
    "config",
    [
        pooling_flags("cls_token", "mean_tokens"),
        pooling_flags("weightedmean_tokens"),
        {"pooling_mode": ["mean", "cls"]},
        {"pooling_mode": "mean_sqrt_len_tokens"},
        {"pooling_mode": "mean", "include_prompt": False},
    ],
)
def test_poolings_that_are_not_computed(folder, config):
    write_json(folder / "1_Pooling/config.json", config)
    with pytest.raises(UnsupportedError, match="1_Pooling"):
        read_checkpoint(folder)


def test_prompts_and_similarity(folder):
    path = folder / "config_sentence_transformers.json"
    prompts = {"query": "query: ", "passage": "passage: "}
    write_json(path, {"prompts": prompts, "default_prompt_name": "query", "similarity_fn_name": "dot"})
    task = read_checkpoint(folder).task
    assert (task.prompts, task.default_prompt, task.similarity) == (prompts, "query", "dot")
    write_json(path, {"prompts": prompts, "default_prompt_name": "other"})
    with pytest.raises(CheckpointError, match="default_prompt_name"):
        read_checkpoint(folder)
    write_json(path, {"model_type": "Other"})
    with pytest.raises(UnsupportedError, match="model_type Other"):
        read_checkpoint(folder)
    write_json(path, {"model_type": "SparseEncoder"})
    with pytest.raises(UnsupportedError, match=r"modules\.json.*SparseEncoder may be Transformer and SpladePooling"):
        read_checkpoint(folder)


@pytest.fixture
def splade(tmp_path) -> Path:
    """A SparseEncoder, as sentence-transformers saves it."""
    home = write_task(tmp_path, "fill-mask")
    names = [("base.modules.transformer.Transformer", ""), ("splade_pooling.SpladePooling", "1_SpladePooling")]
    write_json(home / "modules.json", [module(*name) for name in names])
    write_json(home / "config_sentence_transformers.json", {"model_type": "SparseEncoder", "prompts": {"query": ""}})
    (home / "1_SpladePooling").mkdir()
    write_json(home / "1_SpladePooling/config.json", {"pooling_strategy": "max", "activation_function": "relu"})
    return home


def test_sparse_encoders_are_for_masked_words(splade):
    network = read_checkpoint(splade)
    assert network.task.kind == "fill-mask"
    assert any("SparseEncoder" in note for note in network.notes)
    write_json(splade / "modules.json", [module("MLMTransformer", ""), module("SpladePooling", "1_SpladePooling")])
    assert read_checkpoint(splade).task.kind == "fill-mask"
    assert read_checkpoint(splade, "sentence-embedding").architecture.pooling == "mean"


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize(("activation", "logs"), [("relu", 1), ("log1p_relu", 2)])
def test_sparse_vectors(splade, pooling, activation, logs):
    """Beside what SpladePooling makes of the same logits."""
    write_json(splade / "1_SpladePooling/config.json", {"pooling_strategy": pooling, "activation_function": activation})
    task = read_checkpoint(splade).task
    assert (task.sparse_pooling, task.sparse_logs) == (pooling, logs)
    convert(splade, splade / "out.safetensors", quantize="none")
    model = minibert.load(splade / "out.safetensors", backend="numpy")
    text = "the old man was good"
    weights = np.maximum(model.forward([model.tokenizer.encode(text).ids]), 0)
    for _ in range(logs):
        weights = np.log1p(weights)
    expected = getattr(weights, pooling)(axis=0)
    vector = model.encode_sparse(text)
    assert vector.indices.tolist() == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(vector.values, expected[vector.indices], rtol=1e-6)


def test_sparse_vectors_that_are_not_computed(splade):
    write_json(splade / "1_SpladePooling/config.json", {"pooling_strategy": "mean"})
    with pytest.raises(UnsupportedError, match="pooling_strategy is 'mean'; only 'max' and 'sum' are supported"):
        read_checkpoint(splade)


def test_prompts_of_a_sparse_encoder_are_left_out(splade):
    config = {"model_type": "SparseEncoder", "prompts": {"query": "find: ", "document": ""}}
    write_json(splade / "config_sentence_transformers.json", config)
    assert any("left out the prompts query:" in note for note in read_checkpoint(splade).notes)


def test_a_prompt_before_every_text_of_a_sparse_encoder_is_refused(splade):
    config = {"model_type": "SparseEncoder", "prompts": {"query": "find: "}, "default_prompt_name": "query"}
    write_json(splade / "config_sentence_transformers.json", config)
    with pytest.raises(UnsupportedError, match="prompt"):
        read_checkpoint(splade)


@pytest.mark.parametrize(("function", "expected"), [("Identity", "regression"), ("Sigmoid", "multi_label")])
def test_cross_encoders(tmp_path, function, expected):
    config = {**CONFIG, "id2label": {"0": "LABEL_0"}}
    home = write_checkpoint(tmp_path, config, bert_weights(CONFIG, labels=1))
    write_json(home / "modules.json", [module("Transformer", "")])
    own = {"model_type": "CrossEncoder", "activation_fn": f"torch.nn.modules.activation.{function}", "prompts": {}}
    write_json(home / "config_sentence_transformers.json", own)
    write_json(home / "sentence_bert_config.json", {"max_seq_length": 40})
    network = read_checkpoint(home)
    assert (network.task.kind, network.task.problem_type) == ("text-classification", expected)
    assert network.text.max_length == 40


@pytest.mark.parametrize(
    "modules",
    [
        [module("Transformer", "")],
        [module("Pooling", "1_Pooling"), module("Transformer", "")],
        [module("Transformer", ""), module("Dense", "2_Dense"), module("Pooling", "1_Pooling")],
        [module("Transformer", ""), module("Pooling", "1_Pooling"), module("LSTM", "2_LSTM")],
        [{"path": "", "type": "custom_code.Transformer"}],
        [],
    ],
)
def test_modules_that_are_not_computed(folder, modules):
    write_json(folder / "modules.json", modules)
    with pytest.raises(UnsupportedError, match=r"modules\.json"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "modules", [{}, [1], [{"path": 1, "type": "x"}], [module("Transformer", "../..")], [module("Transformer", "/")]]
)
def test_broken_modules(folder, modules):
    write_json(folder / "modules.json", modules)
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"activation_function": "torch.nn.modules.activation.Mish"}, UnsupportedError),
        ({"activation_function": "mine.Tanh"}, UnsupportedError),
        ({"module_input_name": "token_embeddings"}, UnsupportedError),
        ({"use_residual": True}, UnsupportedError),
        ({"in_features": 95}, CheckpointError),
        ({"out_features": None}, CheckpointError),
        ({"bias": False}, CheckpointError),
    ],
)
def test_projections_that_cannot_be_used(folder, values, error):
    path = folder / "2_Dense/config.json"
    write_json(path, json.loads(path.read_text()) | values)
    with pytest.raises(error, match="2_Dense"):
        read_checkpoint(folder)


def test_projection_without_weights(folder):
    (folder / "2_Dense/pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"2_Dense: no weights"):
        read_checkpoint(folder)


def test_transformer_in_a_folder_of_its_own(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("old")
    shutil.copytree(folder, home / "0_Transformer", ignore=shutil.ignore_patterns("modules.json", "?_*"))
    shutil.copytree(folder / "1_Pooling", home / "1_Pooling")
    write_json(home / "modules.json", [module("Transformer", "0_Transformer"), module("Pooling", "1_Pooling")])
    network = read_checkpoint(home)
    assert network.architecture.pooling == "cls"
    assert not network.architecture.normalize


def test_lower_case_of_cased_tokenizers(folder):
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    network = read_checkpoint(folder)
    assert "Lowercase" in network.tokenizer_json
    assert network.text.max_length == 64


def test_max_length_never_exceeds_the_positions(folder):
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 512})
    assert read_checkpoint(folder).text.max_length == 64


def test_weights_may_be_safetensors_too(folder):
    (folder / "2_Dense/pytorch_model.bin").unlink()
    weights = {"linear.weight": np.ones((20, 96), np.float32), "linear.bias": np.zeros(20, np.float32)}
    save_file(weights, folder / "2_Dense/model.safetensors")
    assert read_checkpoint(folder).linears["head.projection.0"].schema().out_features == 20


def test_folder_saved_by_the_current_library():
    network = read_checkpoint(GOLDEN)
    assert network.architecture.head[0].activation == "tanh"
    assert network.architecture.normalize
    assert network.text.max_length == 32
