"""What families add to the config: which tensors follow from it, and which combinations are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import Config, Linear, Table, Task, expected_tensors, padded, write_model
from minibert.format.relative import DISTANCE_ROWS
from minibert.format.schema import Side, TokenHead
from tests.models import random_model
from tests.tiny import classifier_config, embedding_config


def changed(config: Config, **values: Any) -> Config:
    return replace(config, architecture=replace(config.architecture, **values))


def test_configs_of_families_survive_json():
    model = random_model(
        windows=[3],
        rotary_bases=[10000.0],
        pre_norm=True,
        gated=True,
        position_table=False,
        embedding_size=20,
        norm="rms",
        rotary_frequencies=[[1.0, 0.1, 0.3, 0.0, 2.0, 1e-9]],
    )
    assert Config.from_json(model.config.to_json()) == model.config


def test_tensors_of_families():
    specs = expected_tensors(
        random_model(embedding_size=20, gated=True, position_bias=True, position_table=False).config
    )
    assert specs["embeddings.word.weight"].shape == (101, 32)
    assert specs["embeddings.norm.bias"].shape == (32,)
    assert specs["embeddings.projection.weight"].shape == (3, 8, 16, 4)
    assert "embeddings.position.weight" not in specs
    assert specs["layers.1.attention.position_bias"].shape == (3, 144)
    assert specs["layers.0.ffn.up.weight"].shape == (8, 12, 16, 4)
    assert specs["layers.0.ffn.down.weight"].shape == (3, 16, 16, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotary_bases": [10000.0], "head_size": 13}, "layers.0.rotary_base.*head_size is odd"),
        ({"windows": [5], "position_bias": True}, "layers.0.window is 5"),
        ({"sum_of_embeddings": True}, "sum_of_embeddings is true, but it goes with pre_norm"),
        (
            {"sum_of_embeddings": True, "pre_norm": True, "embedding_size": 20},
            "sum_of_embeddings .* without embedding_s",
        ),
        ({"windows": [5], "relative_rows": 40}, "layers.0.window is 5, but relative_rows"),
        ({"position_bias": True, "relative_rows": 40}, "position_bias is true, but relative_rows"),
        ({"rotary_frequencies": [[1.0] * 5]}, "layers.1.rotary has 5 frequencies, but head_size is 12"),
        ({"rotary_frequencies": [[1.0] * 6], "rotary_bases": [2.0, 2.0]}, "layers.1.rotary is 1, but rotary_base 2.0"),
    ],
)
def test_features_that_do_not_go_together(options, message):
    with pytest.raises(FormatError, match=message):
        random_model(**options)


@pytest.mark.parametrize("base", [0.5, 1, -1.0, float("inf"), float("nan"), 1e10, True, "10000", None])
def test_bases_that_are_none(base):
    config = random_model(rotary_bases=[10000.0]).config.to_json()
    config["architecture"]["layers"][0]["rotary_base"] = base
    with pytest.raises(FormatError, match="rotary_base"):
        Config.from_json(config)


@pytest.mark.parametrize("rows", [[[1, -0.5]], [[1, 1025]], [[]], [[1] * 129], [[1]] * 5, [1.0], [[True]], None])
def test_frequencies_that_are_none(rows):
    config = random_model().config.to_json()
    config["architecture"]["rotary_frequencies"] = rows
    with pytest.raises(FormatError, match="rotary_frequencies"):
        Config.from_json(config)


def test_frequencies_that_are_not_there():
    config = random_model(rotary_frequencies=[[1.0] * 6]).config
    layers = tuple(replace(layer, rotary=2) for layer in config.architecture.layers)
    with pytest.raises(FormatError, match=r"layers.0.rotary is 2, .* rotary_frequencies has 1 rows"):
        expected_tensors(changed(config, layers=layers))


def test_keys_of_later_releases_are_not_written_where_nothing_needs_them():
    plain = random_model().config.to_json()["architecture"]
    assert (
        not {"rotary_frequencies", "norm", "sum_of_embeddings"} & plain.keys() | {"rotary"} & plain["layers"][0].keys()
    )
    assert {"gated", "exits"} <= plain.keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding_size": 40}, "config.linears lacks 'embeddings.projection'"),
        ({"gated": True}, "ffn.up.*out_features is 52, the architecture has 128"),
        ({"position_table": False}, "embeddings.position"),
    ],
)
def test_linears_and_tables_that_do_not_fit(values, message):
    with pytest.raises(FormatError, match=message):
        expected_tensors(changed(random_model().config, **values))


def test_only_words_lie_in_panels():
    config = random_model().config
    tables = {**config.tables, "embeddings.position": Table("int8-panels", 64)}
    with pytest.raises(FormatError, match=r"'embeddings.position'.*int8-panels"):
        expected_tensors(replace(config, tables=tables))


@pytest.mark.parametrize(
    ("task", "outputs", "pooling", "message"),
    [
        ("question-answering", 3, "none", "3 outputs, but question-answering needs 2"),
        ("fill-mask", 100, "none", "100 outputs, but fill-mask needs 101"),
        ("question-answering", 2, "cls", "pooling is 'cls', but question-answering needs a row for each token"),
        ("token-classification", 2, "mean", "pooling is 'mean', but token-classification"),
    ],
)
def test_heads_that_do_not_fit_the_task(task, outputs, pooling, message):
    model = random_model(head=[(outputs, "none", False)], pooling=pooling)
    labels = ("a", "b") if task == "token-classification" else ()
    with pytest.raises(FormatError, match=message):
        expected_tensors(replace(model.config, task=Task(task, labels=labels)))


def test_the_words_are_a_head_of_the_same_kind():
    config = random_model(pooling="none", head=[(101, "none", False)], tied=True).config
    expected_tensors(config)
    linears = {**config.linears, "head.0": Linear("float32", 48, 101)}
    with pytest.raises(FormatError, match=r"embeddings.word.weight"):
        expected_tensors(replace(config, linears=linears))


@pytest.mark.parametrize("row", [-1, 40, 2**31 - 1])
def test_rows_of_distances_that_no_table_has(tmp_path, row):
    model = random_model(relative_rows=40, position_table=False)
    tensors = {**model.tensors, DISTANCE_ROWS: model.tensors[DISTANCE_ROWS].copy()}
    tensors[DISTANCE_ROWS][7] = row
    with pytest.raises(FormatError, match=r"'embeddings.distance_rows' must hold rows from 0 to 39"):
        write_model(tmp_path / "model.safetensors", model.config, {**tensors, "tokenizer.json": np.ones(1, np.uint8)})


def colbert(**side) -> Config:
    config = random_model(pooling="none", head=[(8, "none", False)], windows=side.pop("windows", ())).config
    query = Side(12, prefix=1, fill_to=12, fill_token=2)
    task = Task("multi-vector", similarity="maxsim", query=replace(query, **side), document=Side(12, skip=(3, 4)))
    return replace(config, task=task)


def test_queries_and_documents_survive_json():
    config = colbert()
    expected_tensors(config)
    assert Config.from_json(config.to_json()) == config
    later = {"query", "document", "weightless", "sparse_logs", "other", "other_below"}
    assert not later & random_model().config.to_json()["task"].keys()


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("single_label", {"other": "x"}, "go together"),
        ("single_label", {"other_below": 0.5}, "go together"),
        ("regression", {"other": "x", "other_below": 0.5}, "not for regression"),
        ("single_label", {"other": "x", "other_below": 1.5}, "other_below"),
        ("single_label", {"other": 3, "other_below": 0.5}, "other"),
    ],
)
def test_what_a_text_is_called_that_no_label_fits(kind, other, message):
    config = classifier_config(problem_type=kind)
    right = replace(config, task=replace(config.task, problem_type="single_label", other="x", other_below=0.5))
    assert Config.from_json(right.to_json()) == right
    expected_tensors(right)
    value = config.to_json()
    value["task"] |= other
    with pytest.raises(FormatError, match=message):
        expected_tensors(Config.from_json(value))
    value = embedding_config().to_json()
    value["task"] |= {"other": "x", "other_below": 0.5}
    with pytest.raises(FormatError, match="text-classification"):
        expected_tensors(Config.from_json(value))


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ({"max_length": 65}, "query has more tokens than the model has positions"),
        ({"fill_to": 65}, "query has more tokens"),
        ({"prefix": 1000}, "query names a token beyond the vocabulary"),
        ({"skip": (1000,)}, "query names a token beyond"),
        ({"fill_token": 1000}, "query names a token beyond"),
        ({"windows": (5,)}, "fill_to is 12: filling would see no token within 5"),
    ],
)
def test_queries_that_do_not_fit(side, message):
    expected_tensors(colbert(attend_to_fill=True, windows=(5,)))
    with pytest.raises(FormatError, match=message):
        expected_tensors(colbert(**side))


def test_sides_are_for_vectors_of_tokens():
    config = colbert()
    for task, message in (
        (replace(config.task, query=None), "config.task.query is missing"),
        (replace(config.task, similarity="cosine"), "similarity is 'cosine', which is none of multi-vector"),
        (
            replace(config.task, kind="sentence-embedding"),
            "similarity is 'maxsim', which is none of sentence-embedding",
        ),
        (Task("sentence-embedding", query=config.task.query), "config.task.query is there"),
    ):
        with pytest.raises(FormatError, match=message):
            expected_tensors(replace(config, task=task))
    with pytest.raises(FormatError, match="pooling is 'mean', but multi-vector"):
        expected_tensors(changed(config, pooling="mean"))


def test_token_heads():
    config = random_model(pooling="cls").config
    linears = {**config.linears, "tokens.weights": Linear("int8", padded(config.architecture.hidden_size), 1)}
    config = replace(changed(config, token_heads=(TokenHead("tokens.weights"),)), linears=linears)
    assert expected_tensors(config)["tokens.weights.bias"].shape == (16,)
    wide = {**linears, "tokens.weights": replace(linears["tokens.weights"], out_features=2)}
    with pytest.raises(FormatError, match="out_features is 2, the architecture has 1"):
        expected_tensors(replace(config, linears=wide))
    with pytest.raises(FormatError, match="token_heads are for sentence-embedding"):
        expected_tensors(changed(config, pooling="none"))
    with pytest.raises(FormatError, match="would have it in two places"):
        expected_tensors(changed(config, token_heads=config.architecture.token_heads * 2))
