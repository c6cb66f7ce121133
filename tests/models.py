"""Models of random numbers, made in memory: any architecture, any mix of kinds, the same for the same seed.

The weights are drawn as float32 and then stored as the kind asks, so an int8 model and the float32 model of the same
seed are one network. A few channels of the hidden state are much larger than the rest, as in a trained BERT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from minibert.engine import Engine
from minibert.format import (
    Architecture,
    Config,
    Exit,
    HeadLayer,
    Layer,
    Linear,
    Table,
    Task,
    TextConfig,
    expand_blocks,
    expected_tensors,
    pack_blocks,
    pack_codebook,
    pack_float32,
    pack_int4,
    pack_int4_blocks,
    pack_int8,
    pack_nibbles,
    padded,
    unpack_blocks,
)
from minibert.format.constants import BLOCK_KINDS, CODEBOOK_ENTRIES, FOUR_BIT_KINDS, MAX_MULTIPLIER, NIBBLE_GROUP
from minibert.format.four_bit import weight_sums
from minibert.format.relative import DISTANCE_ROWS
from minibert.reference import Reference

#: Kind of a linear, for all of them or by name.
Kinds = str | Callable[[str], str]


@dataclass(frozen=True)
class RandomModel:
    """What an engine needs of a model file: a config and tensors."""

    config: Config
    tensors: Mapping[str, np.ndarray]

    def engine(self, *, threads: int = 1, backend: str = "jit") -> Engine:
        return Engine(self, threads=threads, backend=backend)

    def reference(self, every_token: bool = False) -> Reference:
        return Reference(self.config, self.tensors, every_token)

    def texts(self, lengths: Sequence[int], seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids and token types of texts of these lengths."""
        random = np.random.default_rng(seed)
        architecture = self.config.architecture
        types = max(architecture.token_types, 1)
        return (
            [random.integers(0, architecture.vocab_size, length).tolist() for length in lengths],
            [random.integers(0, types, length).tolist() for length in lengths],
        )


def random_model(
    kind: Kinds = "int8",
    *,
    hidden_size: int = 40,
    head_size: int = 12,
    heads: int | Sequence[int] = 3,
    ffn_size: int | Sequence[int] = 52,
    layers: int = 2,
    vocab_size: int = 101,
    max_positions: int = 64,
    token_types: int = 2,
    eps: float = 1e-12,
    activation: str = "gelu",
    pooling: str = "cls",
    head: Sequence[tuple[int, str, bool] | str] = (),
    normalize: bool = False,
    tables: str | Table = "int8",
    input_factor: bool = False,
    seed: int = 0,
    embedding_size: int = 0,
    position_table: bool = True,
    position_bias: bool = False,
    relative_rows: int = 0,
    pre_norm: bool = False,
    gated: bool = False,
    norm: str = "layer",
    sum_of_embeddings: bool = False,
    windows: Sequence[int] = (),
    rotary_bases: Sequence[float] = (),
    rotary_frequencies: Sequence[Sequence[float]] = (),
    tied: bool = False,
    low_rank: int = 0,
    word_size: int = 0,
    keep_tokens: Sequence[float] = (),
    exits: Sequence[tuple[int, float]] = (),
    pool_after: int = 0,
    pool_prompt: bool = True,
    layer_weights: Sequence[float] = (),
) -> RandomModel:
    """A model of random weights.

    Args:
        kind: of LINEAR_KINDS, or a function from a linear's name to one of them; of BLOCK_KINDS three blocks in five
            are stored.
        hidden_size: columns of the hidden state that count.
        head_size: columns of an attention head that count.
        heads: attention heads, of every layer or of each.
        ffn_size: columns between the two halves of the feed-forward network, of every layer or of each.
        layers: how many.
        vocab_size: words.
        max_positions: tokens of the longest text.
        token_types: segments; 0 for no such table.
        eps: of LayerNorm.
        activation: between the halves of the feed-forward network.
        pooling: how tokens become a row.
        head: (out_features, activation, norm) of each layer behind the encoder; "norm", "normalize", or the activation
            of one that has a residual.
        normalize: whether rows end with length 1.
        tables: kind of the embedding tables, or how all of them are stored.
        input_factor: whether int8 linears have one.
        seed: of the random numbers.
        embedding_size: columns of the embedding tables, if a matrix follows them.
        position_table: whether there is a table of positions.
        position_bias: whether scores of attention depend on distance.
        relative_rows: rows of the tables of keys and queries of distances; 0 for none.
        pre_norm: whether LayerNorms stand before what they are for.
        norm: "layer" or "rms".
        sum_of_embeddings: whether the residual sum begins with the embeddings as they are before their norm.
        gated: whether one half of the feed-forward's neurons gates the other.
        windows: how far attention reaches in the first layers; to all tokens in the others.
        rotary_bases: of the first layers; none in the others.
        rotary_frequencies: of the last layers, one row for each.
        tied: whether the last layer of the head is the table of words.
        low_rank: rank of what is added to every matrix but gated ones; 0 for nothing.
        word_size: columns of the table of words, if a matrix of their own follows them.
        keep_tokens: fraction of the tokens that the first layers let through; the others let all.
        exits: (layer, threshold) of each place where a text may leave; makes the model a classifier.
        pool_after: layers of the head that come before pooling.
        pool_prompt: whether prompts are pooled as well.
        layer_weights: of the sum of all layers' rows, if that is pooled.
    """
    kind_of = kind if callable(kind) else lambda _name: kind
    heads = [heads] * layers if isinstance(heads, int) else heads
    ffn_size = [ffn_size] * layers if isinstance(ffn_size, int) else ffn_size
    hidden = padded(hidden_size)
    linears: dict[str, Linear] = {}

    def add(name: str, in_features: int, out_features: int) -> None:
        this = kind_of(name)
        factor = input_factor and this != "float32"
        # Groups that are no whole number of 32 inputs are multiplied in another way; old files have no sums.
        group_size = (48 if name.endswith("ffn.down") else 32) if this == "int4" else 0
        sums = this in FOUR_BIT_KINDS and ".ffn." in name
        linear = Linear(this, in_features, out_features, factor, group_size=group_size, weight_sum=sums)
        linears[name] = replace(linear, blocks=3 * linear.all_blocks // 5) if this in BLOCK_KINDS else linear
        if low_rank and not (gated and name.endswith("ffn.up")):
            this = "float32" if this == "float32" else "int8"
            linears[f"{name}.low_rank.down"] = Linear(this, in_features, low_rank)
            linears[f"{name}.low_rank.up"] = Linear(this, padded(low_rank), out_features, factor)

    if word_size:
        add("embeddings.word_projection", padded(word_size), embedding_size or hidden_size)
    if embedding_size:
        add("embeddings.projection", padded(embedding_size), hidden_size)
    for number in range(layers):
        attention = heads[number] * padded(head_size)
        add(f"layers.{number}.attention.qkv", hidden, 3 * attention)
        add(f"layers.{number}.attention.output", attention, hidden_size)
        add(f"layers.{number}.ffn.up", hidden, 2 * padded(ffn_size[number]) if gated else ffn_size[number])
        add(f"layers.{number}.ffn.down", padded(ffn_size[number]), hidden_size)
    width, head_layers = hidden_size, []
    for number, layer in enumerate(head):
        width *= 1 + pooling.count("+") if number == pool_after else 1
        if layer in ("norm", "normalize"):
            head_layers.append(HeadLayer(f"head.{number}", kind=layer, eps=1e-5 if layer == "norm" else 0.0))
            continue
        out_features, head_activation, normed = (width, layer, False) if isinstance(layer, str) else layer
        add(f"head.{number}", padded(width), out_features)
        head_layers.append(HeadLayer(f"head.{number}", head_activation, normed, residual=isinstance(layer, str)))
        width = out_features

    for after, _threshold in exits:
        add(f"exits.{after}", hidden, width)
    labels = tuple(map(str, range(width))) if exits else ()

    rows = {"word": vocab_size, "position": position_table * max_positions, "token_type": token_types}
    extras = [windows[n] if n < len(windows) else 0 for n in range(layers)]
    keeps = [keep_tokens[n] if n < len(keep_tokens) else 1.0 for n in range(layers)]
    bases = [rotary_bases[n] if n < len(rotary_bases) else 0.0 for n in range(layers)]
    rotary = [max(0, n + 1 + len(rotary_frequencies) - layers) for n in range(layers)]
    stored = Table(tables, 1) if isinstance(tables, str) else tables
    config = Config(
        Architecture(
            model_type="bert",
            hidden_size=hidden_size,
            head_size=head_size,
            vocab_size=vocab_size,
            max_positions=max_positions,
            token_types=token_types,
            layer_norm_eps=eps,
            activation=activation,
            layers=tuple(Layer(*each) for each in zip(heads, ffn_size, extras, bases, keeps, rotary, strict=True)),
            pooling=pooling,
            head=tuple(head_layers),
            normalize=normalize,
            embedding_size=embedding_size,
            position_table=position_table,
            position_bias=position_bias,
            relative_rows=relative_rows,
            pre_norm=pre_norm,
            gated=gated,
            norm=norm,
            sum_of_embeddings=sum_of_embeddings,
            word_size=word_size,
            exits=tuple(Exit(*each) for each in exits),
            rotary_frequencies=tuple(tuple(row) for row in rotary_frequencies),
            pool_after=pool_after,
            pool_prompt=pool_prompt,
            layer_weights=tuple(layer_weights),
        ),
        Task("text-classification", labels) if exits else Task("sentence-embedding"),
        TextConfig(max_positions),
        linears,
        {f"embeddings.{name}": replace(stored, rows=count) for name, count in rows.items() if count},
    )
    if tied:
        config = _tie(config, head_layers[-1].name)
    return RandomModel(config, random_tensors(config, seed))


def _tie(config: Config, name: str) -> Config:
    """The words' table is the weights of a linear."""
    kind = config.linears[name].kind
    parts = ("weight", "scale") if kind == "int8" else ("weight",)
    word = Table("int8-panels" if kind == "int8" else "float32-panels", config.architecture.vocab_size)
    linears = {**config.linears, name: replace(config.linears[name], input_factor=False)}
    aliases = {f"embeddings.word.{part}": f"{name}.{part}" for part in parts}
    return replace(config, linears=linears, tables={**config.tables, "embeddings.word": word}, aliases=aliases)


def random_tensors(config: Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors for a config, with zeros wherever a real model has padding."""
    architecture = config.architecture
    heads = [layer.num_heads for layer in architecture.layers]
    norms = norm_sizes(config)
    tensors: dict[str, np.ndarray] = {}
    for name, spec in expected_tensors(config).items():
        if name.rpartition(".")[0] in norms:
            random, size = _generator(seed, name), norms[name.rpartition(".")[0]]
            values = random.standard_normal(size).astype(np.float32)
            tensors[name] = np.zeros(spec.shape, np.float32)
            tensors[name][:size] = 1 + values * 0.2 if name.endswith("weight") else values * 0.1
            if name.startswith("layers.") and name.endswith("weight"):
                tensors[name][: size // 13] *= 4
        elif name.endswith(".position_bias"):
            tensors[name] = _generator(seed, name).standard_normal(spec.shape).astype(np.float32)
        elif name == DISTANCE_ROWS:
            rows, furthest = architecture.relative_rows, architecture.max_positions - 1
            places = np.arange(-furthest, furthest + 1)
            buckets = np.sign(places) * np.minimum(np.abs(places), np.int64(8 * np.log1p(np.abs(places))))
            tensors[name] = np.clip(buckets + rows // 2, 0, rows - 1).astype(np.int32)
        elif ".attention.position_" in name:
            values = np.zeros(spec.shape, np.float32)
            random = _generator(seed, name)
            if name.endswith(".scale"):
                tensors[name] = random.uniform(0.005, 0.02, spec.shape).astype(np.float32)
                continue
            values[..., : architecture.head_size] = random.standard_normal((*spec.shape[:2], architecture.head_size))
            tensors[name] = values if spec.dtype == "F32" else np.clip(np.rint(values * 50), -127, 127).astype(np.int8)

    for name, table in config.tables.items():
        if table.kind.endswith("panels"):
            continue
        random = _generator(seed, name)
        columns = (name == "embeddings.word" and architecture.word_size) or architecture.table_size
        weight = np.zeros((table.rows, padded(columns)), np.float32)
        weight[:, :columns] = random.standard_normal((table.rows, columns))
        store_table(tensors, name, table, weight)

    for name, linear in config.linears.items():
        random = _generator(seed, name)
        outputs, inputs = _real(name, linear, architecture, heads)
        if f"{name}.weight" in config.aliases.values():
            inputs[architecture.table_size :] = False
        weight = random.standard_normal((linear.out_features, linear.in_features)).astype(np.float32)
        weight *= np.float32(1 / np.sqrt(inputs.sum()))
        weight *= outputs[:, None] * inputs
        if name.endswith(".low_rank.up"):
            weight *= np.float32(0.3)  # a small difference
        bias = random.standard_normal(linear.out_features).astype(np.float32) * np.float32(0.3) * outputs
        store_linear(tensors, name, linear, weight, bias, random)
    return tensors | {alias: tensors[name] for alias, name in config.aliases.items()}


def norm_sizes(config: Config) -> dict[str, int]:
    """How many columns each LayerNorm has that count."""
    architecture = config.architecture
    sizes, width = {"embeddings.norm": architecture.table_size}, architecture.hidden_size
    for number in range(len(architecture.layers)):
        sizes |= {f"layers.{number}.attention.norm": width, f"layers.{number}.ffn.norm": width}
    for number, layer in enumerate(architecture.head):
        width *= max(len(architecture.poolings), 1) if number == architecture.pool_after else 1
        width = config.linears[layer.name].out_features if layer.kind == "linear" else width
        sizes[layer.name if layer.kind == "norm" else f"{layer.name}.norm"] = width
    return sizes


def _generator(seed: int, name: str) -> np.random.Generator:
    """One for each tensor, so that a tensor does not depend on the kinds of the others."""
    return np.random.default_rng([seed, crc32(name.encode())])


def store_table(tensors: dict[str, np.ndarray], name: str, table: Table, weight: np.ndarray) -> None:
    """Store a table float32 [rows, columns] as its kind has it."""
    if table.kind == "float32":
        tensors[f"{name}.weight"] = weight
        return
    if table.kind == "int8":
        tensors[f"{name}.weight"], scale = _quantized(weight)
    elif table.kind == "codebook":  # numbers of their own: nothing here says which entry is near to a row
        random, size = _generator(0, f"{name}.codebook"), table.subvector_size
        book = random.integers(-127, 128, (weight.shape[1] // size, CODEBOOK_ENTRIES, size), dtype=np.int8)
        used = (np.arange(weight.shape[1]) < np.flatnonzero(weight.any(axis=0))[-1] + 1).reshape(-1, 1, size)
        tensors[f"{name}.codebook"] = book * used
        tensors[f"{name}.codes"] = random.integers(0, CODEBOOK_ENTRIES, (len(weight), len(book)), dtype=np.uint8)
        scale = np.abs(weight).max(axis=1) / np.float32(127)
    else:
        groups = padded(weight.shape[1], NIBBLE_GROUP) // NIBBLE_GROUP
        filled = np.pad(weight, ((0, 0), (0, groups * NIBBLE_GROUP - weight.shape[1]))).reshape(len(weight), groups, -1)
        largest = np.abs(filled).max(axis=2) / 7
        scale = (largest.max(axis=1) / MAX_MULTIPLIER).astype(np.float32)
        multiplier = np.clip(np.rint(largest / scale[:, None]), 1, MAX_MULTIPLIER)
        codes = np.clip(np.rint(filled / (multiplier * scale[:, None])[:, :, None]), -7, 7).astype(np.int8)
        tensors[f"{name}.codes"] = pack_nibbles(codes.reshape(len(weight), -1)[:, : weight.shape[1]])
        tensors[f"{name}.multiplier"] = multiplier.astype(np.uint8)
    tensors[f"{name}.scale"] = np.pad(scale, (0, padded(table.rows) - table.rows))


def store_linear(
    tensors: dict[str, np.ndarray],
    name: str,
    linear: Linear,
    weight: np.ndarray,
    bias: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Store a matrix float32 [out, in] and its bias in the layout of its kind."""
    missing = padded(linear.out_features) - linear.out_features
    tensors[f"{name}.bias"] = np.pad(bias, (0, missing))
    if linear.kind == "float32":
        tensors[f"{name}.weight"] = pack_float32(weight)
        return
    if linear.input_factor:
        factor = np.exp2(random.uniform(-2, 2, linear.in_features)).astype(np.float32)
        tensors[f"{name}.input_factor"] = factor
        weight = weight / factor
    codes, scale = _quantized(weight)
    if linear.kind in FOUR_BIT_KINDS:
        _store_four_bits(tensors, name, linear, codes, random)
        tensors[f"{name}.scale"] = np.pad(scale, (0, missing))
        if linear.weight_sum:
            tensors[f"{name}.weight_sum"] = weight_sums(name, linear, tensors)
        return
    tensors[f"{name}.scale"] = np.pad(scale, (0, missing))
    if linear.kind in BLOCK_KINDS:
        codes = _store_blocks(tensors, name, linear, codes, random)
    else:
        tensors[f"{name}.weight"] = pack_int8(codes)
    tensors[f"{name}.weight_sum"] = np.pad(codes.sum(axis=1, dtype=np.int32), (0, missing))


def _store_blocks(
    tensors: dict[str, np.ndarray], name: str, linear: Linear, weight: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Some blocks of the int8 weights [out, in], or of weights of four bits that are near; returns what they are."""
    kept = np.zeros(linear.all_blocks, bool)
    kept[random.choice(kept.size, linear.blocks, replace=False)] = True
    blocks, indices, indptr = pack_blocks(weight, kept.reshape(-1, linear.in_features // 4))
    parts = {"blocks": blocks, "index": indices, "starts": indptr}
    if linear.kind == "int4-4x4":
        multiplier = random.integers(10, 19, (linear.runs, 4)).astype(np.uint8)
        steps = np.repeat(multiplier, 8, axis=0)[: len(blocks), :, None]
        codes = np.clip(np.rint(parts.pop("blocks") / steps), -7, 7).astype(np.int8)
        parts |= {"codes": pack_int4_blocks(codes), "multiplier": multiplier}
    tensors |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    if linear.kind == "int4-4x4":
        blocks = expand_blocks(name, linear, tensors)
    return unpack_blocks(blocks, indices, indptr, linear.in_features, linear.out_features)


def _store_four_bits(
    tensors: dict[str, np.ndarray], name: str, linear: Linear, weight: np.ndarray, random: np.random.Generator
) -> None:
    """Something near the int8 weights [out, in], with multipliers or codebooks that all differ."""
    if linear.kind == "int4":
        multiplier = random.integers(10, 19, (linear.out_features, linear.groups)).astype(np.uint8)
        steps = np.repeat(multiplier, linear.group_size, axis=1)[:, : weight.shape[1]]
        codes = np.clip(np.rint(weight / steps), -7, 7).astype(np.int8)
        tensors[f"{name}.codes"], tensors[f"{name}.multiplier"] = pack_int4(codes, multiplier)
    else:
        panels = padded(linear.out_features) // 16
        values = np.linspace(-120, 120, 16) + random.integers(-6, 7, (panels, 16))
        values[:, 8] = 0
        near = np.abs(weight[:, :, None] - values[np.arange(len(weight)) // 16][:, None, :]).argmin(axis=2)
        tensors[f"{name}.codes"] = pack_codebook(near.astype(np.uint8))
        tensors[f"{name}.codebook"] = values.astype(np.int8)


def _quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 codes and one float32 scale a row."""
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    safe = np.where(scale > 0, scale, np.float32(1))
    return np.rint(weight / safe[:, None]).astype(np.int8), scale.astype(np.float32)


def _real(name: str, linear: Linear, architecture: Architecture, heads: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which outputs and inputs of a linear are no padding: bool [out], bool [in]."""
    if ".low_rank." in name:
        outputs, inputs = _real(name.split(".low_rank.")[0], linear, architecture, heads)
        rank = np.ones(linear.out_features if name.endswith("down") else linear.in_features, bool)
        return (rank, inputs) if name.endswith("down") else (outputs, rank)
    head_size, hidden_size = architecture.head_size, architecture.hidden_size
    outputs = np.ones(linear.out_features, bool)
    inputs = np.ones(linear.in_features, bool)
    in_head = np.arange(padded(head_size)) < head_size
    if name.endswith("attention.qkv"):
        outputs = np.tile(in_head, 3 * heads[int(name.split(".")[1])])
    if name.endswith("attention.output"):
        inputs = np.tile(in_head, heads[int(name.split(".")[1])])
    elif name.endswith(("attention.qkv", "ffn.up", "head.0")):
        inputs[hidden_size:] = False
    if name.endswith("ffn.up") and architecture.gated:
        outputs = np.tile(np.arange(len(outputs) // 2) < architecture.layers[int(name.split(".")[1])].ffn_size, 2)
    if name == "embeddings.word_projection":
        inputs[architecture.word_size :] = False
    elif name == "embeddings.projection":
        inputs[architecture.embedding_size :] = False
    return outputs, inputs
