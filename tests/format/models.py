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
    expand_blocks,
    expected_tensors,
    pack_blocks,
    pack_float32,
    pack_int4,
    pack_int4_blocks,
    pack_int8,
    pack_nibbles,
    pack_tokenizer,
    padded,
    unpack_blocks,
)
from minibert.format.constants import BLOCK_KINDS, FOUR_BIT_KINDS
from minibert.format.four_bit import weight_sums
from minibert.format.relative import DISTANCE_ROWS
from tests.format.tokenizers import small_tables, tensors_of

TOKENIZER = json.dumps(
    {"model": {"type": "WordPiece", "vocab": {f"wörd{i}": i for i in range(40)}}}, ensure_ascii=False
)


def make_config(
    kind="int8", table_kind="int8", *, layers=2, heads=3, labels=("bad", "good", "ugly"), **changes
) -> Config:
    """A classifier with odd sizes: hidden 40 of 48, heads of 12 in 16, FFN 52 of 64, 23 words."""
    hidden_size, head_size, ffn_size = 40, 12, 52
    hidden, attention, ffn = padded(hidden_size), heads * padded(head_size), padded(ffn_size)
    factor = kind != "float32"
    linears = {}
    for number in range(layers):
        linears[f"layers.{number}.attention.qkv"] = Linear(kind, hidden, 3 * attention, factor)
        linears[f"layers.{number}.attention.output"] = Linear(kind, attention, hidden_size)
        linears[f"layers.{number}.ffn.up"] = Linear(kind, hidden, ffn_size, factor)
        linears[f"layers.{number}.ffn.down"] = Linear(kind, ffn, hidden_size)
    linears["head.dense"] = Linear(kind, hidden, 20)
    if kind == "int4":
        linears = {name: replace(linear, group_size=32) for name, linear in linears.items()}
    if kind in BLOCK_KINDS:
        linears = {name: replace(linear, blocks=linear.all_blocks // 5) for name, linear in linears.items()}
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
        if spec.dtype == "F32":
            tensors[name] = random.standard_normal(spec.shape, dtype=np.float32)
        elif spec.dtype == "U8":
            tensors[name] = random.integers(0, 256, spec.shape, dtype=np.uint8)
        elif spec.dtype == "I8":
            tensors[name] = random.integers(-127, 128, spec.shape, dtype=np.int8)
        elif name == DISTANCE_ROWS:
            tensors[name] = random.integers(0, config.architecture.relative_rows, spec.shape, dtype=np.int32)
    for name, table in config.tables.items():  # as a converter makes them
        if table.kind == "int4":
            codes, multiplier = tensors[f"{name}.codes"], tensors[f"{name}.multiplier"]
            tensors[f"{name}.codes"] = pack_nibbles(random.integers(-7, 8, (table.rows, 2 * codes.shape[1]), np.int8))
            tensors[f"{name}.multiplier"] = random.integers(1, 19, multiplier.shape, np.uint8)
    for name, linear in config.linears.items():
        tensors |= _matrix(name, linear, tensors, random)
    text = TOKENIZER
    if config.text.tables is not None:
        tables, text = tensors_of(config.text.tables, config.architecture.vocab_size)
        tensors |= tables
    tensors["tokenizer.json"] = pack_tokenizer(text)
    return {name: tensor for name, tensor in tensors.items() if name not in config.aliases}


def _matrix(
    name: str, linear: Linear, free: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """The tensors of a matrix whose contents are not all free; those that are have been made."""
    weight = random.integers(-127, 128, (linear.out_features, linear.in_features), dtype=np.int8)
    if linear.kind == "float32":
        return {f"{name}.weight": pack_float32(weight.astype(np.float32))}
    tensors = {}
    if linear.kind in FOUR_BIT_KINDS:
        if linear.kind == "int4":
            multiplier = random.integers(1, 19, (linear.out_features, linear.groups), dtype=np.uint8)
            parts = pack_int4(weight % 15 - 7, multiplier)
            tensors.update(zip((f"{name}.codes", f"{name}.multiplier"), parts, strict=True))
        sums = {f"{name}.weight_sum": weight_sums(name, linear, free | tensors)} if linear.weight_sum else {}
        return tensors | sums
    if linear.kind == "int8":
        tensors[f"{name}.weight"] = pack_int8(weight)
    elif linear.kind == "int8-4x4":
        weight = keep_blocks(weight, linear.blocks, random)
        parts = zip(("blocks", "index", "starts"), pack_blocks(weight), strict=True)
        tensors.update({f"{name}.{part}": tensor for part, tensor in parts})
    else:
        blocks, indices, indptr = pack_blocks(keep_blocks(weight % 15 - 7, linear.blocks, random, most=7))
        multiplier = random.integers(1, 19, (linear.runs, 4), dtype=np.uint8)
        parts = {"codes": pack_int4_blocks(blocks), "index": indices, "starts": indptr, "multiplier": multiplier}
        tensors.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
        blocks = expand_blocks(name, linear, tensors)
        weight = unpack_blocks(blocks, indices, indptr, linear.in_features, linear.out_features)
    tensors[f"{name}.weight_sum"] = np.zeros(padded(linear.out_features), np.int32)
    tensors[f"{name}.weight_sum"][: linear.out_features] = weight.sum(axis=1, dtype=np.int32)
    return tensors


def keep_blocks(weight: np.ndarray, count: int, random: np.random.Generator, most: int = 77) -> np.ndarray:
    """The matrix with all but `count` of its 4x4 blocks zero; each of these holds a weight that is not."""
    outputs, columns = weight.shape[0], weight.shape[1] // 4
    chosen = random.choice(-(-outputs // 4) * columns, count, replace=False)
    kept = np.zeros_like(weight)
    for group, column in zip(*divmod(chosen, columns), strict=True):
        place = (slice(4 * group, 4 * group + 4), slice(4 * column, 4 * column + 4))
        kept[place] = weight[place]
        kept[4 * group, 4 * column + random.integers(4)] = most
    return kept


def shared_layers(config: Config) -> Config:
    """Every layer is the first one, as in ALBERT."""
    first = [name for name in expected_tensors(config) if name.startswith("layers.0.")]
    layers = range(1, len(config.architecture.layers))
    aliases = {name.replace("layers.0.", f"layers.{number}."): name for number in layers for name in first}
    return replace(config, aliases=aliases)


def sparse_config(kind: str = "int8-4x4") -> Config:
    """Matrices of every density, from none of their blocks to all of them, beside a dense one."""
    config = make_config(kind)
    linears = dict(config.linears)
    for name, density in {"layers.0.ffn.up": 0.0, "layers.0.attention.output": 1.0, "layers.0.ffn.down": 0.5}.items():
        linears[name] = replace(linears[name], blocks=round(linears[name].all_blocks * density))
    linears["layers.1.ffn.down"] = make_config().linears["layers.1.ffn.down"]
    linears["head.output"] = Linear(kind, 32, 3, blocks=1)
    return replace(config, linears=linears)


def four_bit_config() -> Config:
    """Codebooks, and multipliers of groups that end with the inputs and of groups that don't; with sums and without."""
    config = make_config("int4")
    linears = dict(config.linears)
    for name in ("layers.0.ffn.up", "layers.1.attention.qkv", "head.dense"):
        linears[name] = make_config("codebook").linears[name]
    linears["layers.0.ffn.down"] = replace(linears["layers.0.ffn.down"], group_size=12)
    linears["layers.1.ffn.down"] = make_config().linears["layers.1.ffn.down"]
    linears["layers.1.ffn.up"] = replace(linears["layers.1.ffn.up"], group_size=48)
    for name in ("layers.1.ffn.up", "layers.1.attention.qkv"):
        linears[name] = replace(linears[name], weight_sum=True)
    return replace(config, linears=linears)


def low_rank_config() -> Config:
    """Layers that share their matrices and keep a difference each; float32 and of integers."""
    config = make_config(layers=3)
    linears, aliases = dict(config.linears), {}
    for name, linear in config.linears.items():
        if name.startswith("layers."):
            linears[f"{name}.low_rank.down"] = Linear("int8", linear.in_features, 5)
            linears[f"{name}.low_rank.up"] = Linear("int8", 16, linear.out_features, input_factor=True)
    for number in (1, 2):
        for part in ("attention.qkv.weight", "attention.qkv.scale", "attention.qkv.weight_sum", "ffn.up.input_factor"):
            aliases[f"layers.{number}.{part}"] = f"layers.0.{part}"
    linears["head.output.low_rank.down"] = Linear("float32", 32, 1)
    linears["head.output.low_rank.up"] = Linear("float32", 16, 3)
    return replace(config, linears=linears, aliases=aliases)


def embedding_config() -> Config:
    config = make_config("float32", "float32")
    architecture = replace(config.architecture, pooling="mean", head=(), normalize=True, token_types=0)
    linears = {name: linear for name, linear in config.linears.items() if name.startswith("layers.")}
    tables = {name: table for name, table in config.tables.items() if name != "embeddings.token_type"}
    task = Task("sentence-embedding", prompts={"query": "query: ", "": ""}, default_prompt="query", similarity="dot")
    return replace(config, architecture=architecture, linears=linears, tables=tables, task=task)


def compact_config() -> Config:
    """Every compact kind of table, and a codebook for each size of its entries."""
    config = make_config(table_kind="int4", layers=1)
    tables = {**config.tables, "embeddings.word": Table("codebook", 23, 4), "embeddings.token_type": Table("int4", 2)}
    return replace(config, tables=tables)


def static_config() -> Config:
    """Words alone, and how texts become them."""
    config = embedding_config()
    architecture = replace(
        config.architecture, model_type="static", layers=(), position_table=False, max_positions=65536
    )
    text = TextConfig(512, characters_per_token=6, ignored_id=1, empty_id=22)
    tables = {"embeddings.word": Table("int8", 23)}
    return replace(config, architecture=architecture, linears={}, tables=tables, text=text)


def tables_config(name: str = "words", vocab_size: int = 23) -> Config:
    """A tokenizer as tables, in a model of words alone if it has more of them than others have."""
    config = make_config() if vocab_size == 23 else static_config()
    text = TextConfig(16, tables=small_tables(name, vocab_size).tokenization)
    tables = dict(config.tables) | {"embeddings.word": replace(config.tables["embeddings.word"], rows=vocab_size)}
    return replace(config, architecture=replace(config.architecture, vocab_size=vocab_size), text=text, tables=tables)


CONFIGS = {
    "int8": make_config(),
    "float32": make_config("float32", "float32"),
    "shared": shared_layers(make_config(layers=4)),
    "embedding": embedding_config(),
    "sparse": sparse_config(),
    "sparse_four_bit": sparse_config("int4-4x4"),
    "four_bit": four_bit_config(),
    "shared_four_bit": shared_layers(make_config("int4", layers=3)),
    "low_rank": low_rank_config(),
    "shared_sparse": shared_layers(make_config("int8-4x4", layers=3)),
    "shared_sparse_four_bit": shared_layers(make_config("int4-4x4", layers=3)),
    "compact": compact_config(),
    "static": static_config(),
    "tables": tables_config(),
    "mixed": make_config("int8", "float32", layers=1, heads=1, labels=("x",)),
}
