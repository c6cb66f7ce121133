"""Small models of every kind that the format knows, of odd sizes so that every padding shows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from minibert.format import (
    Architecture,
    Config,
    HeadLayer,
    Layer,
    Linear,
    Table,
    Task,
    TextConfig,
    expected_tensors,
    pack_float32,
    pack_int8,
    pack_tokenizer,
    padded,
)

TOKENIZER = json.dumps(
    {"model": {"type": "WordPiece", "vocab": {f"wörd{i}": i for i in range(40)}}}, ensure_ascii=False
)


def make_config(
    kind="int8", table_kind="int8", *, layers=2, heads=3, labels=("bad", "good", "ugly"), **changes
) -> Config:
    """A classifier with odd sizes: hidden 40 of 48, heads of 12 in 16, FFN 52 of 64, 23 words."""
    hidden_size, head_size, ffn_size = 40, 12, 52
    hidden, attention, ffn = padded(hidden_size), heads * padded(head_size), padded(ffn_size)
    factor = kind == "int8"
    linears = {}
    for number in range(layers):
        linears[f"layers.{number}.attention.qkv"] = Linear(kind, hidden, 3 * attention, factor)
        linears[f"layers.{number}.attention.output"] = Linear(kind, attention, hidden_size)
        linears[f"layers.{number}.ffn.up"] = Linear(kind, hidden, ffn_size, factor)
        linears[f"layers.{number}.ffn.down"] = Linear(kind, ffn, hidden_size)
    linears["head.dense"] = Linear(kind, hidden, 20)
    linears["head.output"] = Linear("float32", 32, len(labels))
    architecture = Architecture(
        model_type="bert",
        hidden_size=hidden_size,
        head_size=head_size,
        vocab_size=23,
        max_positions=17,
        token_types=2,
        layer_norm_eps=1e-12,
        activation="gelu",
        layers=(Layer(heads, ffn_size),) * layers,
        pooling="cls",
        head=(HeadLayer("head.dense", "tanh", norm=True), HeadLayer("head.output")),
    )
    tables = {
        "embeddings.word": Table(table_kind, 23),
        "embeddings.position": Table(table_kind, 17),
        "embeddings.token_type": Table("float32", 2),
    }
    return Config(
        architecture,
        Task("text-classification", labels),
        TextConfig(16),
        linears,
        tables,
        recipe={"passes": [{"name": "quantize", "bits": 8}]},
        report={"parameters": 12345, "cosine": 0.9991},
        provenance={"source": "tests", "note": "naïve ✓"},
    )


def make_tensors(config: Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Random numbers for everything that the config calls for, aliases not among them."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, spec in expected_tensors(config).items():
        if name in config.aliases:
            continue
        if spec.dtype == "F32":
            tensors[name] = random.standard_normal(spec.shape, dtype=np.float32)
        elif spec.dtype == "I8":
            tensors[name] = random.integers(-127, 128, spec.shape, dtype=np.int8)
        else:
            tensors[name] = tensors[name.removesuffix("_sum")].sum(axis=(1, 3), dtype=np.int32).reshape(-1)
    for name, linear in config.linears.items():  # a few as a converter makes them
        weight = random.integers(-127, 128, (linear.out_features, linear.in_features), dtype=np.int8)
        if f"{name}.weight" in tensors and linear.kind == "int8":
            tensors[f"{name}.weight"] = pack_int8(weight)
            tensors[f"{name}.weight_sum"] = np.zeros(padded(linear.out_features), np.int32)
            tensors[f"{name}.weight_sum"][: linear.out_features] = weight.sum(axis=1, dtype=np.int32)
        elif f"{name}.weight" in tensors:
            tensors[f"{name}.weight"] = pack_float32(weight.astype(np.float32))
    tensors["tokenizer.json"] = pack_tokenizer(TOKENIZER)
    return tensors


def shared_layers(config: Config) -> Config:
    """Every layer is the first one, as in ALBERT."""
    first = [name for name in expected_tensors(config) if name.startswith("layers.0.")]
    layers = range(1, len(config.architecture.layers))
    aliases = {name.replace("layers.0.", f"layers.{number}."): name for number in layers for name in first}
    return replace(config, aliases=aliases)


def embedding_config() -> Config:
    config = make_config("float32", "float32")
    architecture = replace(config.architecture, pooling="mean", head=(), normalize=True, token_types=0)
    linears = {name: linear for name, linear in config.linears.items() if name.startswith("layers.")}
    tables = {name: table for name, table in config.tables.items() if name != "embeddings.token_type"}
    task = Task("sentence-embedding", prompts={"query": "query: ", "": ""}, default_prompt="query", similarity="dot")
    return replace(config, architecture=architecture, linears=linears, tables=tables, task=task)


CONFIGS = {
    "int8": make_config(),
    "float32": make_config("float32", "float32"),
    "shared": shared_layers(make_config(layers=4)),
    "embedding": embedding_config(),
    "mixed": make_config("int8", "float32", layers=1, heads=1, labels=("x",)),
}
