from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from minibert.errors import FormatError
from minibert.format import Config, Exit, HeadLayer, Layer, Linear, Table, Task, TensorSpec, expected_tensors
from tests.format.models import CONFIGS, make_config


@pytest.mark.parametrize("kind", CONFIGS)
def test_config_survives_json(kind):
    config = CONFIGS[kind]
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert Config.from_json(config.to_json()) == config


def test_every_key_with_a_default_may_be_left_out():
    value = make_config().to_json()
    bare = {key: value[key] for key in ("architecture", "task", "text", "linears", "tables")}
    bare["task"] = {"kind": "text-classification", "labels": value["task"]["labels"]}
    config = Config.from_json(bare)
    assert config.aliases == {}
    assert config.task.problem_type == "single_label"
    assert config.task == make_config().task


def test_int8_tensors_of_a_known_model():
    specs = expected_tensors(make_config(layers=1))
    assert specs["embeddings.word.weight"] == TensorSpec("I8", (23, 48))
    assert specs["embeddings.word.scale"] == TensorSpec("F32", (32,))
    assert specs["embeddings.token_type.weight"] == TensorSpec("F32", (2, 48))
    assert "embeddings.token_type.scale" not in specs
    assert specs["embeddings.norm.bias"] == TensorSpec("F32", (48,))
    assert specs["layers.0.attention.qkv.weight"] == TensorSpec("I8", (9, 12, 16, 4))
    assert specs["layers.0.attention.qkv.scale"] == TensorSpec("F32", (144,))
    assert specs["layers.0.attention.qkv.weight_sum"] == TensorSpec("I32", (144,))
    assert specs["layers.0.attention.qkv.bias"] == TensorSpec("F32", (144,))
    assert specs["layers.0.attention.qkv.input_factor"] == TensorSpec("F32", (48,))
    assert specs["layers.0.attention.output.weight"] == TensorSpec("I8", (3, 12, 16, 4))
    assert "layers.0.attention.output.input_factor" not in specs
    assert specs["layers.0.ffn.up.weight"] == TensorSpec("I8", (4, 12, 16, 4))
    assert specs["layers.0.ffn.down.weight"] == TensorSpec("I8", (3, 16, 16, 4))
    assert specs["head.dense.norm.weight"] == TensorSpec("F32", (32,))
    assert specs["head.output.weight"] == TensorSpec("F32", (1, 32, 16))
    assert specs["head.output.bias"] == TensorSpec("F32", (16,))
    assert len(specs) == 2 + 2 + 1 + 2 + (5 + 4 + 2 + 5 + 4 + 2) + (4 + 2) + 2


def test_layers_may_differ_after_pruning():
    config = make_config(layers=2)
    linears = dict(config.linears)
    linears["layers.1.attention.qkv"] = Linear("int8", 48, 3 * 16)
    linears["layers.1.attention.output"] = Linear("int8", 16, 40)
    linears["layers.1.ffn.up"] = Linear("float32", 48, 7)
    linears["layers.1.ffn.down"] = Linear("int8", 16, 40)
    architecture = replace(config.architecture, layers=(Layer(3, 52), Layer(1, 7)))
    specs = expected_tensors(replace(config, architecture=architecture, linears=linears))
    assert specs["layers.0.ffn.up.weight"].shape == (4, 12, 16, 4)
    assert specs["layers.1.ffn.up.weight"] == TensorSpec("F32", (1, 48, 16))
    assert specs["layers.1.attention.qkv.weight"].shape == (3, 12, 16, 4)


def _without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def test_linears_and_tables_are_those_of_the_architecture():
    config = make_config()
    for name in config.linears:
        with pytest.raises(FormatError, match=rf"lacks '{name}'"):
            expected_tensors(replace(config, linears=_without(config.linears, name)))
        linear = config.linears[name]
        wider = {**config.linears, name: replace(linear, in_features=linear.in_features + 16)}
        with pytest.raises(FormatError, match=rf"'{name}'.*in_features"):
            expected_tensors(replace(config, linears=wider))
        taller = {**config.linears, name: replace(linear, out_features=linear.out_features + 16)}
        with pytest.raises(FormatError, match=r"out_features|in_features|labels"):
            expected_tensors(replace(config, linears=taller))
    for name in config.tables:
        with pytest.raises(FormatError, match=rf"lacks '{name}'"):
            expected_tensors(replace(config, tables=_without(config.tables, name)))
        with pytest.raises(FormatError, match=rf"'{name}'.*rows"):
            expected_tensors(replace(config, tables={**config.tables, name: Table("int8", 1000)}))
    with pytest.raises(FormatError, match="no place"):
        expected_tensors(replace(config, tables={**config.tables, "embeddings.other": Table("int8", 2)}))
    with pytest.raises(FormatError, match="no place"):
        expected_tensors(replace(config, linears={**config.linears, "head.more": Linear("int8", 48, 3)}))


def test_head_names_that_would_collide_are_refused():
    config = make_config()
    head = (HeadLayer("head.a", norm=True), HeadLayer("head.a.norm"))
    linears = {name: linear for name, linear in config.linears.items() if not name.startswith("head.")}
    linears["head.a"] = Linear("float32", 48, 40)
    linears["head.a.norm"] = Linear("float32", 48, 3)
    with pytest.raises(FormatError, match=r"'head.a.norm.weight'"):
        expected_tensors(replace(config, architecture=replace(config.architecture, head=head), linears=linears))
    twice = replace(config.architecture, head=(HeadLayer("head.a"), HeadLayer("head.a")))
    with pytest.raises(FormatError, match=r"'head.a'"):
        expected_tensors(replace(config, architecture=twice, linears=_without(linears, "head.a.norm")))


def chain(**values):
    """A config with a norm, pooling of two kinds, a linear and a normalization behind the encoder."""
    config = make_config(layers=1)
    head = (HeadLayer("head.a", kind="norm", eps=1e-5), HeadLayer("head.b"), HeadLayer("head.c", kind="normalize"))
    labels = {"pooling": "mean+cls", "pool_after": 1, "head": head, "layer_weights": (0.0, 2.0)} | values
    linears = {name: linear for name, linear in config.linears.items() if not name.startswith("head.")}
    linears["head.b"] = Linear("float32", 80, 40)
    architecture = replace(config.architecture, **labels)
    return replace(config, architecture=architecture, linears=linears, task=Task("sentence-embedding"))


def test_tensors_of_a_chain_behind_the_encoder():
    specs = expected_tensors(chain())
    assert {name: spec.shape for name, spec in specs.items() if name.startswith("head.")} == {
        "head.a.weight": (48,),
        "head.a.bias": (48,),
        "head.b.weight": (3, 80, 16),
        "head.b.bias": (48,),
    }
    assert Config.from_json(json.loads(json.dumps(chain().to_json()))) == chain()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pool_after": 4}, "pool_after is 4"),
        ({"pooling": "none"}, "pool_after is 1"),
        ({"pool_after": 2}, "in_features is 80, the architecture has 48"),
        ({"layer_weights": (1.0,)}, "layer_weights has 1 numbers"),
        ({"layer_weights": (0.0, 0.0)}, "not all 0"),
        ({"pooling": "none", "pool_after": 0, "head": (), "layer_weights": (1.0, 1.0)}, "no place|with a pooling"),
        ({"head": (HeadLayer("head.b", residual=True),), "pool_after": 0}, "has a residual"),
        ({"layers": (Layer(3, 52, keep_tokens=0.5),)}, "pooling asks which tokens"),
        ({"layers": (Layer(3, 52, keep_tokens=0.5),), "layer_weights": (), "pooling": "mean+weighted_mean"}, "asks"),
    ],
    ids=str,
)
def test_chains_that_do_not_fit_together(values, message):
    with pytest.raises(FormatError, match=message):
        expected_tensors(chain(**values))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pooling", "mean+mean"),
        ("pooling", "mean+none"),
        ("pooling", "mean+"),
        ("pooling", ""),
        ("pooling", ["mean"]),
        ("pool_after", -1),
        ("pool_prompt", 1),
        ("layer_weights", [1e7, 1]),
        ("layer_weights", ["1", 1]),
        ("head", [{"name": "head.a", "kind": "pool"}]),
        ("head", [{"name": "head.a", "kind": "norm"}]),
        ("head", [{"name": "head.a", "kind": "norm", "eps": 1e-5, "activation": "relu"}]),
        ("head", [{"name": "head.a", "eps": 1e-5}]),
        ("head", [{"name": "head.a", "norm": True, "residual": True}]),
        ("head", [{"name": "head.a.norm", "kind": "normalize"}]),
    ],
    ids=str,
)
def test_values_that_no_chain_has(key, value):
    config = chain().to_json()
    config["architecture"][key] = value
    with pytest.raises(FormatError, match=rf"config\.architecture\.{key}"):
        Config.from_json(config)


def test_keys_that_came_later_are_not_written_without_need():
    later = {"pool_after", "pool_prompt", "layer_weights", "kind", "eps", "residual"}
    written = make_config().to_json()["architecture"]
    assert not later & (written.keys() | written["head"][0].keys())


def test_block_sparse_tensors_of_a_known_model():
    config = make_config(layers=1)
    linear = Linear("int8-4x4", 48, 52, True, blocks=9)
    specs = expected_tensors(replace(config, linears={**config.linears, "layers.0.ffn.up": linear}))
    assert {name.rpartition(".")[2]: spec for name, spec in specs.items() if name.startswith("layers.0.ffn.up.")} == {
        "blocks": TensorSpec("I8", (9, 4, 4)),
        "index": TensorSpec("U16", (9,)),
        "starts": TensorSpec("I32", (17,)),
        "scale": TensorSpec("F32", (64,)),
        "weight_sum": TensorSpec("I32", (64,)),
        "bias": TensorSpec("F32", (64,)),
        "input_factor": TensorSpec("F32", (48,)),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"token_types": 2},
        {"embedding_size": 8},
        {"word_size": 8},
        {"position_table": True},
        {"position_bias": True},
        {"pre_norm": True},
        {"gated": True},
        {"pooling": "none"},
        {"exits": (Exit(0, 0.5),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_without_layers_there_is_nothing_that_layers_have(change):
    config = CONFIGS["static"]
    assert list(expected_tensors(config)) == ["embeddings.word.weight", "embeddings.word.scale"]
    with pytest.raises(FormatError, match=next(iter(change))):
        expected_tensors(replace(config, architecture=replace(config.architecture, **change)))


@pytest.mark.parametrize(("key", "value"), [("characters_per_token", 1), ("ignored_id", 0), ("empty_id", 0)])
def test_only_without_layers_texts_may_have_no_token(key, value):
    config, static = make_config(), CONFIGS["static"]
    with pytest.raises(FormatError, match=f"config.text.{key} is {value}, which is for models without layers"):
        expected_tensors(replace(config, text=replace(config.text, **{key: value})))
    if key != "characters_per_token":
        with pytest.raises(FormatError, match=f"config.text.{key} is 23, but there are 23 words"):
            expected_tensors(replace(static, text=replace(static.text, **{key: 23})))


def test_keys_that_came_later_are_written_where_they_say_something():
    """Files that have no use for them keep their bytes."""
    assert set(make_config().to_json()["text"]) == {"max_length"}
    assert CONFIGS["static"].to_json()["text"] == {
        "max_length": 512,
        "characters_per_token": 6,
        "ignored_id": 1,
        "empty_id": 22,
    }


def test_density_counts_the_blocks_of_real_outputs():
    assert Linear("int8-4x4", 48, 52, blocks=39).density == 39 / (13 * 12)
    assert Linear("int8-4x4", 48, 53, blocks=14 * 12).density == 1
    assert Linear("int8-4x4", 48, 53).density == 0
    assert Linear("int4-4x4", 48, 52, blocks=39).density == 39 / (13 * 12)
    assert [Linear("int4-4x4", 48, 52, blocks=count).runs for count in (0, 1, 8, 9)] == [0, 1, 1, 2]
    assert Linear("int8", 48, 53).density == Linear("float32", 48, 53).density == 1


def test_every_key_is_read_and_written():
    """A field added to a dataclass but forgotten in from_json would be lost without a word."""
    config = make_config()
    value = config.to_json()
    assert set(value) == {key.name for key in fields(config)}
    for path in _leaves(value):
        if path[0] not in ("recipe", "report", "provenance", "aliases") and path[-1] != "prompts":
            spoiled = json.loads(json.dumps(value))
            parent = spoiled
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = {"not": "this"}
            with pytest.raises(FormatError, match=r"config\."):
                Config.from_json(spoiled)


def _leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path
