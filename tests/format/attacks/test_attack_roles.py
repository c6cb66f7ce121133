"""Names that a file chooses, and parts that lie in a place that is not theirs: no name decides what a matrix is for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from minibert.errors import FormatError
from minibert.format import Config, HeadLayer, Linear, expected_tensors
from minibert.plan import Matmul, build_plan
from tests.format.models import CONFIGS, make_config
from tests.format.random_models import bytes_of, file_of, random_config


def posing(names: list[str], sizes: list[int]) -> Config:
    """An embedding model whose head has layers of these names, and sizes that agree all along."""
    config = CONFIGS["embedding"]
    linears = dict(config.linears)
    for name, inputs, outputs in zip(names, sizes, sizes[1:], strict=False):
        linears[name] = Linear("float32", inputs, outputs)
    head = tuple(HeadLayer(name) for name in names)
    return replace(config, linears=linears, architecture=replace(config.architecture, head=head))


@pytest.mark.parametrize(
    "names",
    [
        ["head.a.low_rank.down", "head.x", "head.a.low_rank.up", "head.a"],
        ["head.a.low_rank.up", "head.a.low_rank.down", "head.a"],
        ["head.a.low_rank.down", "head.a"],
        ["head.a.low_rank.up", "head.a"],
        ["head.a", "head.a.low_rank.down"],
        ["head.a", "head.x", "head.a.low_rank.up"],
        ["head.a.low_rank.down.low_rank.down", "head.a.low_rank.down"],
    ],
    ids=" ".join,
)
def test_head_layers_called_like_low_rank_parts(names):
    """Taken by the plan for a low-rank part, the first list made kernels write 65,536 numbers into rows of 16."""
    config = posing(names, [48, 64, 32, 48, 16])
    with pytest.raises(FormatError, match=r"'head\.WORD'"):
        Config.from_json(config.to_json())
    # Neither does the proof depend on what a name may be spelled like.
    with pytest.raises(FormatError, match=r"config\.linears"):
        expected_tensors(config)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "head.a.low_rank.down",
            "head.a.norm",
            "head.a.weight",
            "head.0.x",
            "head.a.0.norm",
            "head.a.b",
            "head.a.0.0",
        ),
        *(
            "head.",
            "head..",
            "head.a.",
            "head..0",
            "head.a.-1",
            "head.a.b0",
            "head.\u0661",
            "head.a.\u0661",
            "head.a b",
            "Head.a",
        ),
        *(
            "exits.0",
            "layers.0.ffn.up",
            "embeddings.projection",
            "tokenizer.json",
            "head.tokenizer.json",
            "head.x.padding",
        ),
    ],
)
def test_names_that_a_head_layer_may_not_have(forge, name):
    old = forge.config["architecture"]["head"][0]["name"]
    forge.config["architecture"]["head"][0]["name"] = name
    forge.config["linears"][name] = forge.config["linears"].pop(old)
    forge.refused("config.architecture.head[0].name", "'head.WORD' or 'head.WORD.NUMBER'")


@pytest.mark.parametrize(
    "name", ["head.weight", "head.norm", "head.low_rank", "head.0", "head.projection.12", "head._"]
)
def test_names_that_a_head_layer_may_have(name):
    config = posing([name], [48, 16])
    assert Config.from_json(config.to_json()) == config
    assert f"{name}.weight" in expected_tensors(config)


def test_two_head_layers_of_one_name(forge):
    head = forge.config["architecture"]["head"]
    head[1]["name"] = head[0]["name"]
    forge.refused("config.linears lacks 'head.dense': the architecture would have it in two places")


@pytest.mark.parametrize(
    "owner", ["exits.0", "embeddings.word_projection", "embeddings.word", "embeddings.norm", "head"]
)
def test_low_rank_parts_of_what_has_none(owner):
    config = make_config()
    architecture = replace(config.architecture, word_size=8)
    linears = {**config.linears, "embeddings.word_projection": Linear("int8", 16, 40)}
    expected_tensors(replace(config, architecture=architecture, linears=linears))
    linears |= {f"{owner}.low_rank.down": Linear("int8", 16, 5), f"{owner}.low_rank.up": Linear("int8", 16, 40)}
    with pytest.raises(FormatError, match="which the architecture has no place for"):
        expected_tensors(replace(config, architecture=architecture, linears=linears))


@pytest.mark.parametrize("seed", range(200))
def test_a_plan_takes_what_was_proven_and_nothing_else(seed):
    """Each linear of a config is in the plan once, in one role; whatever the model is made of."""
    config = Config.from_json(random_config(random.Random(seed)))
    expected_tensors(config)
    taken = [step.linear for step in build_plan(config, token_heads=True).steps if isinstance(step, Matmul)]
    assert sorted(taken) == sorted(config.linears)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("tokenizer.json", "embeddings.norm.bias"),
        ("embeddings.norm.bias", "tokenizer.json"),
        ("embeddings.word.scale.padding", "embeddings.norm.bias"),
        ("embeddings.norm.bias", "embeddings.word.scale.padding"),
        ("embeddings.norm.bias", "embeddings.norm.bias"),
        ("layers.0.ffn.up", "layers.1.ffn.up"),
        ("layers.0.ffn.up.low_rank.up.bias", "layers.0.ffn.up.bias"),
    ],
)
def test_aliases_of_what_is_no_tensor_of_the_model(forge, name, target):
    forge.header.pop(name, None)
    forge.config["aliases"][name] = target
    forge.refused("tokenizer.json" if name == "tokenizer.json" else "config.aliases")


@pytest.mark.parametrize(("kind", "weights"), [("int8-4x4", ("blocks",)), ("int4-4x4", ("codes", "multiplier"))])
def test_blocks_of_another_matrix_are_proven_for_the_one_that_they_serve(forge, kind, weights):
    """Of two matrices with as many outputs and blocks one has fewer inputs: the other's index leads beyond them."""
    config = make_config(kind, layers=1)
    linears = dict(config.linears)
    for name in ("layers.0.attention.output", "layers.0.ffn.down"):
        linears[name] = replace(linears[name], blocks=60)
    parts = (*weights, "index", "starts")
    aliases = {f"layers.0.attention.output.{part}": f"layers.0.ffn.down.{part}" for part in parts}
    content = bytes_of(*file_of(replace(config, linears=linears, aliases=aliases).to_json(), 0))
    forge.refused("layers.0.attention.output.index", "the matrix has 12", content=content)
