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
from tests.chains import CHAINS, write_chain, write_router
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
    ("mode", "expected"),
    [
        ("cls_token", "cls"),
        ("mean_tokens", "mean"),
        ("max_tokens", "max"),
        ("lasttoken", "last"),
        ("weightedmean_tokens", "weighted_mean"),
    ],
)
def test_poolings(folder, mode, expected):
    write_json(folder / "1_Pooling/config.json", pooling_flags(mode))
    assert read_checkpoint(folder).architecture.pooling == expected
    write_json(folder / "1_Pooling/config.json", {"embedding_dimension": 96, "pooling_mode": mode.split("_")[0]})
    assert read_checkpoint(folder).architecture.pooling == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"word_embedding_dimension": 96}, "mean"),
        ({"pooling_mode_mean_tokens": False}, "mean"),
        (pooling_flags("lasttoken", "mean_sqrt_len_tokens", "cls_token"), "cls+mean_sqrt_length+last"),
        ({"pooling_mode": ["mean", "cls"], "pooling_mode_max_tokens": True}, "mean+cls"),
    ],
    ids=str,
)
def test_several_poolings(folder, config, expected):
    write_json(folder / "1_Pooling/config.json", config)
    write_json(folder / "modules.json", [module("Transformer", ""), module("Pooling", "1_Pooling")])
    architecture = read_checkpoint(folder).architecture
    assert (architecture.pooling, architecture.pool_prompt) == (expected, True)


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode": "attention"},
        {"pooling_mode": ["mean", "mean"]},
        {"pooling_mode": []},
        {"pooling_mode_new": True},
    ],
    ids=str,
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


def scoring(folder: Path, function: str, **values) -> Path:
    """The folder as a cross-encoder whose second projection makes the scores."""
    names = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Dense", "3_Dense")]
    write_json(folder / "modules.json", [module(*name) for name in names])
    own = {"model_type": "CrossEncoder", "activation_fn": f"torch.nn.modules.{function}"}
    write_json(folder / "config_sentence_transformers.json", own)
    path = folder / "3_Dense/config.json"
    write_json(path, json.loads(path.read_text()) | {"module_output_name": "scores"} | values)
    return folder


def test_a_cross_encoder_that_pools(folder):
    network = read_checkpoint(scoring(folder, "linear.Identity"))
    assert (network.task.kind, network.task.problem_type) == ("text-classification", "single_label")
    assert network.task.labels == tuple(f"LABEL_{number}" for number in range(8))
    assert (network.architecture.pooling, len(network.architecture.head)) == ("cls", 2)
    assert read_checkpoint(scoring(folder, "activation.Sigmoid")).task.problem_type == "multi_label"
    with pytest.raises(UnsupportedError, match="tanh of several outputs"):
        read_checkpoint(scoring(folder, "activation.Tanh"))
    with pytest.raises(UnsupportedError, match=r"3_Dense.*module_output_name.*only 'scores'"):
        read_checkpoint(scoring(folder, "linear.Identity", module_output_name=None))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("function", ["Softplus", "Mish", "Softmax"])
def test_functions_of_scores_that_are_not_computed(tmp_path, function, outputs):
    home = write_checkpoint(tmp_path, {**CONFIG, "id2label": None}, bert_weights(CONFIG, labels=outputs))
    write_json(home / "modules.json", [module("Transformer", "")])
    own = {"model_type": "CrossEncoder", "activation_fn": f"torch.nn.modules.activation.{function}"}
    write_json(home / "config_sentence_transformers.json", own)
    with pytest.raises(UnsupportedError, match=f"{function}.*supported are Sigmoid, Identity, Tanh, ReLU, GELU, SiLU"):
        read_checkpoint(home)


@pytest.mark.parametrize(
    "modules",
    [
        [module("Transformer", "")],
        [module("Pooling", "1_Pooling"), module("Transformer", "")],
        [module("Transformer", ""), module("Pooling", "1_Pooling"), module("WeightedLayerPooling", "2_Dense")],
        [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Pooling", "1_Pooling")],
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
        ({"activation_function": "torch.nn.modules.activation.Sigmoid"}, UnsupportedError),
        ({"module_input_name": "token_embeddings"}, UnsupportedError),
        ({"module_output_name": "scores"}, UnsupportedError),
        ({"use_residual": True}, UnsupportedError),
        ({"temperature": 2}, UnsupportedError),
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


def test_modules_that_stand_where_they_read_nothing(folder):
    names = [("Transformer", ""), ("Dense", "2_Dense"), ("Pooling", "1_Pooling")]
    write_json(folder / "modules.json", [module(*name) for name in names])
    with pytest.raises(UnsupportedError, match=r"2_Dense.*only 'token_embeddings' is supported"):
        read_checkpoint(folder)
    names[1] = ("LayerNorm", "2_Dense")
    write_json(folder / "modules.json", [module(*name) for name in names])
    write_json(folder / "2_Dense/config.json", {"dimension": 96})
    with pytest.raises(UnsupportedError, match="LayerNorm before Pooling"):
        read_checkpoint(folder)


def test_modules_become_the_layers_of_the_head(tmp_path):
    network = read_checkpoint(write_chain(tmp_path, CHAINS["a long chain"]))
    architecture = network.architecture
    assert [(layer.name, layer.kind, layer.residual) for layer in architecture.head] == [
        ("head.projection.0", "linear", False),
        ("head.layer_norm.0", "norm", False),
        ("head.normalize.0", "normalize", False),
        ("head.projection.1", "linear", True),
        ("head.projection.2", "linear", False),  # and its residual, which is no more than a matrix
    ]
    assert (architecture.pooling, architecture.pool_after, architecture.normalize) == ("mean+max", 0, True)
    assert architecture.head[1].eps == 1e-5
    architecture = read_checkpoint(write_chain(tmp_path / "tokens", CHAINS["tokens"])).architecture
    assert (architecture.pool_after, len(architecture.head), architecture.head[-1].activation) == (2, 3, "silu")
    assert not architecture.normalize


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_WeightedLayerPooling/config.json", {"layer_start": 3}, "layer_start is 3, but there are 2 layers"),
        ("1_WeightedLayerPooling/config.json", {"layer_start": 0}, "layer_weights"),
        ("1_WeightedLayerPooling/config.json", {"layer_start": -1}, "layer_start"),
        ("1_WeightedLayerPooling/config.json", {"layer_start": 1, "mode": "max"}, "sets mode"),
    ],
)
def test_weights_of_layers_that_do_not_fit(tmp_path, file, values, message):
    write_json(write_chain(tmp_path, CHAINS["all layers"]) / file, values)
    with pytest.raises((CheckpointError, UnsupportedError), match=message):
        read_checkpoint(tmp_path)


def test_weights_of_layers(tmp_path):
    weights = read_checkpoint(write_chain(tmp_path, CHAINS["all layers"])).architecture.layer_weights
    assert weights[0] == 0
    assert sum(weights) == pytest.approx(1)
    config = json.loads((tmp_path / "config.json").read_text())
    write_json(tmp_path / "config.json", config | {"output_hidden_states": False})
    network = read_checkpoint(tmp_path)
    assert network.architecture.layer_weights == ()
    assert any("output_hidden_states" in note for note in network.notes)
    write_json(tmp_path / "sentence_bert_config.json", {"config_kwargs": {"output_hidden_states": True}})
    assert read_checkpoint(tmp_path).architecture.layer_weights == weights


def test_a_route_is_chosen_by_its_name(tmp_path):
    folder = write_router(tmp_path)
    for route in (None, "passage"):
        with pytest.raises(UnsupportedError, match=r"router_config\.json.*the routes query, document.*--route query"):
            read_checkpoint(folder, route=route)
    network = read_checkpoint(folder, route="document")
    assert (network.architecture.pooling, len(network.architecture.head)) == ("mean", 1)
    assert network.provenance["route"] == "document"
    assert "took the route document of a Router, and left out query" in network.notes
    assert not any("not read" in note for note in network.notes)


def test_one_route_is_taken_and_none_is_refused(tmp_path):
    folder = write_router(tmp_path)
    config = json.loads((folder / "router_config.json").read_text())
    del config["structure"]["document"]
    write_json(folder / "router_config.json", config)
    assert read_checkpoint(folder).architecture.pooling == "cls"
    for broken in (
        {"structure": {}},
        {"types": None},
        {"structure": {"query": [1]}},
        {"structure": {"query": ["0_X"]}},
    ):
        write_json(folder / "router_config.json", config | broken)
        with pytest.raises(CheckpointError, match=r"router_config\.json"):
            read_checkpoint(folder)
    write_json(folder / "router_config.json", config | {"types": dict.fromkeys(config["types"], "mine.Transformer")})
    with pytest.raises(UnsupportedError, match=r"router_config\.json: module mine\.Transformer"):
        read_checkpoint(folder)


def test_a_route_where_there_is_no_router(folder):
    with pytest.raises(UnsupportedError, match=r"modules\.json: there is no Router"):
        read_checkpoint(folder, route="query")
    (folder / "modules.json").unlink()
    with pytest.raises(UnsupportedError, match="no route 'query'"):
        read_checkpoint(folder, route="query")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task"),
        ({"module_output_name": "sentence_embedding"}, "module_output_name"),
        ({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}, "pooler_output"),
        ({"modality_config": {"text": {}, "message": {}}}, "chat template"),
        ({"processing_kwargs": {"text": {"truncation": False}}}, "truncation"),
        ({"processing_kwargs": {"chat_template": {}}}, "processing_kwargs"),
        ({"query_length": 32}, "query_length"),
    ],
    ids=str,
)
def test_encoders_that_are_asked_for_something_else(folder, values, message):
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 40} | values)
    with pytest.raises(UnsupportedError, match=rf"sentence_bert_config\.json.*{message}"):
        read_checkpoint(folder)


def test_the_longest_text_that_the_tokenizer_is_called_with(folder):
    values = {"max_seq_length": 40, "processing_kwargs": {"text": {"max_length": 20, "padding": True}}}
    write_json(folder / "sentence_bert_config.json", values)
    assert read_checkpoint(folder).text.max_length == 20


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
