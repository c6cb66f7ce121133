"""Which tensors a file must hold: derived from the config alone, and the proof that the config agrees with itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from minibert.errors import FormatError
from minibert.format.agreement import prove_agreement, prove_static
from minibert.format.constants import (
    BLOCK,
    BLOCK_KINDS,
    CODEBOOK_ENTRIES,
    CODEBOOK_VALUES,
    FOUR_BIT_KINDS,
    GROUP,
    LANES,
    MAX_ELEMENTS,
    MAX_OUTPUTS,
    MAX_WIDTH,
    NIBBLE_GROUP,
    RUN,
    distances,
    padded,
)
from minibert.format.parts import Linear, Table, TensorSpec, low_rank_part
from minibert.format.relative import DISTANCE_ROWS, POSITION_TABLES
from minibert.format.schema import Architecture, Config, Layer
from minibert.format.token_tables import token_tensors
from minibert.format.values import shown

#: The tensor that holds tokenizer.json, compressed, or what the tokenizer's tables leave over of it; its length is the
#: one thing that the config doesn't tell.
TOKENIZER = "tokenizer.json"


def expected_tensors(config: Config) -> dict[str, TensorSpec]:
    """Name, dtype and shape of every tensor of a model, aliases among them, tokenizer.json not.

    Proves on the way that linears and tables are those that the architecture calls for, no more and no less, in the
    sizes it calls for; that labels match outputs; and that aliases stand for tensors that are really stored.

    Args:
        config: a config whose single values have been checked (`Config.from_json`).

    Returns:
        The specs by name, in the order in which a forward pass uses the tensors.

    Raises:
        FormatError: naming the linear, table, tensor or key that doesn't fit.
    """
    architecture = config.architecture
    prove_static(config)
    specs = _Specs()
    _add_tables(specs, config.tables, architecture)
    if architecture.layers:
        specs.norm("embeddings.norm", padded(architecture.table_size))
    if architecture.relative_rows:
        specs.add(DISTANCE_ROWS, "I32", 2 * architecture.max_positions - 1)
    linears = _Linears(config.linears)
    if architecture.word_size:
        name = "embeddings.word_projection"
        specs.linear(name, linears.take(name, padded(architecture.word_size), architecture.table_size))
    if architecture.embedding_size:
        name = "embeddings.projection"
        _add_linear(specs, linears, name, padded(architecture.embedding_size), architecture.hidden_size)
    for number, layer in enumerate(architecture.layers):
        _add_layer(specs, linears, f"layers.{number}", layer, architecture)
    for early in architecture.exits:
        name = f"exits.{early.after}"
        specs.linear(name, linears.take(name, padded(architecture.hidden_size), len(config.task.labels)))
    _add_token_heads(specs, linears, config)
    width = _add_head(specs, linears, architecture)
    linears.end()
    prove_agreement(config, width)
    _check_aliases(config.aliases, specs.by_name)
    tables = config.text.tables
    # No alias names these: what is proven and copied of them belongs to nobody else.
    return specs.by_name if tables is None else specs.by_name | token_tensors(tables, architecture.vocab_size)


def _add_token_heads(specs: _Specs, linears: _Linears, config: Config) -> None:
    architecture, where = config.architecture, "config.architecture.token_heads"
    if not architecture.token_heads:
        return
    if config.task.kind != "sentence-embedding" or architecture.pooling == "none" or not architecture.layers:
        raise FormatError(f"{where} are for sentence-embedding by layers, with a row a text")
    if any(layer.keep_tokens < 1 for layer in architecture.layers):
        raise FormatError(f"{where} need a row for each token, but tokens leave (keep_tokens)")
    for head in architecture.token_heads:
        outputs = 1 if head.name == "tokens.weights" else None
        specs.linear(head.name, linears.take(head.name, padded(architecture.hidden_size), outputs))


class _Specs:
    """Specs by name, refusing a name that comes twice."""

    def __init__(self) -> None:
        self.by_name: dict[str, TensorSpec] = {}

    def add(self, name: str, dtype: str, *shape: int) -> None:
        if name in self.by_name:
            raise FormatError(f"two parts of the architecture would both be the tensor {shown(name)}")
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS:
            raise FormatError(f"the tensor {shown(name)} would have {elements} numbers; the limit is {MAX_ELEMENTS}")
        self.by_name[name] = TensorSpec(dtype, shape)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", "F32", width)
        self.add(f"{name}.bias", "F32", width)

    def linear(self, name: str, linear: Linear) -> None:
        outputs = padded(linear.out_features)
        panels = outputs // LANES
        if linear.kind == "float32":
            self.add(f"{name}.weight", "F32", panels, linear.in_features, LANES)
        elif linear.kind == "int8":
            self.add(f"{name}.weight", "I8", panels, linear.in_features // GROUP, LANES, GROUP)
        elif linear.kind in FOUR_BIT_KINDS:
            self.add(f"{name}.codes", "U8", panels, linear.in_features // GROUP, LANES, GROUP // 2)
            if linear.kind == "int4":
                self.add(f"{name}.multiplier", "U8", panels, linear.groups, LANES)
            else:
                self.add(f"{name}.codebook", "I8", panels, CODEBOOK_VALUES)
        elif linear.kind == "int8-4x4":
            self.add(f"{name}.blocks", "I8", linear.blocks, BLOCK, GROUP)
        else:  # whole runs, so that kernels may read all of one
            self.add(f"{name}.codes", "U8", linear.runs * RUN, BLOCK, GROUP // 2)
            self.add(f"{name}.multiplier", "U8", linear.runs, BLOCK)
        if linear.kind in BLOCK_KINDS:
            # In the file they are called index and starts, everywhere else indices and indptr, as in SciPy.
            self.add(f"{name}.index", "U16", linear.blocks)
            self.add(f"{name}.starts", "I32", outputs // BLOCK + 1)
        if linear.kind != "float32":
            self.add(f"{name}.scale", "F32", outputs)
        if linear.kind in ("int8", *BLOCK_KINDS) or linear.weight_sum:
            self.add(f"{name}.weight_sum", "I32", outputs)
        self.add(f"{name}.bias", "F32", outputs)
        if linear.input_factor:
            self.add(f"{name}.input_factor", "F32", linear.in_features)

    def relative(self, name: str, architecture: Architecture, heads: int, exact: bool) -> None:
        rows = architecture.relative_rows
        self.add(f"{name}.weight", "F32" if exact else "I8", rows, heads, padded(architecture.head_size))
        if not exact:
            self.add(f"{name}.scale", "F32", rows, heads)

    def table(self, name: str, table: Table, width: int) -> None:
        rows, panels = table.rows, padded(table.rows) // LANES
        if table.kind == "float32":
            self.add(f"{name}.weight", "F32", rows, width)
        elif table.kind == "float32-panels":
            self.add(f"{name}.weight", "F32", panels, width, LANES)
        elif table.kind == "int8":
            self.add(f"{name}.weight", "I8", rows, width)
        elif table.kind == "int8-panels":
            self.add(f"{name}.weight", "I8", panels, width // GROUP, LANES, GROUP)
        elif table.kind == "codebook":
            parts = width // table.subvector_size
            self.add(f"{name}.codes", "U8", rows, parts)
            self.add(f"{name}.codebook", "I8", parts, CODEBOOK_ENTRIES, table.subvector_size)
        else:
            self.add(f"{name}.codes", "U8", rows, width // 2)
            self.add(f"{name}.multiplier", "U8", rows, -(-width // NIBBLE_GROUP))
        if not table.kind.startswith("float32"):
            self.add(f"{name}.scale", "F32", padded(rows))


def _add_tables(specs: _Specs, tables: Mapping[str, Table], architecture: Architecture) -> None:
    rows = {
        "embeddings.word": architecture.vocab_size,
        "embeddings.position": architecture.max_positions,
        "embeddings.token_type": architecture.token_types,
    }
    if architecture.token_types == 0:
        del rows["embeddings.token_type"]
    if not architecture.position_table:
        del rows["embeddings.position"]
    for name in tables:
        if name not in rows:
            raise FormatError(f"config.tables holds {shown(name)}, which the architecture has no place for")
    for name, count in rows.items():
        table = tables.get(name)
        if table is None:
            raise FormatError(f"config.tables lacks '{name}'")
        if table.rows != count:
            raise FormatError(f"config.tables['{name}'].rows is {table.rows}, the architecture has {count}")
        if table.kind.endswith("-panels") and name != "embeddings.word":
            raise FormatError(f"config.tables[{shown(name)}].kind is {table.kind}, which is for words only")
        narrow = architecture.word_size if name == "embeddings.word" else 0
        specs.table(name, table, padded(narrow or architecture.table_size))


def _add_layer(specs: _Specs, linears: _Linears, prefix: str, layer: Layer, architecture: Architecture) -> None:
    hidden_size = architecture.hidden_size
    hidden = padded(hidden_size)
    attention = layer.num_heads * padded(architecture.head_size)
    if attention > MAX_WIDTH:
        raise FormatError(
            f"{prefix} has {layer.num_heads} heads of {architecture.head_size}: together wider than {MAX_WIDTH}"
        )
    if layer.rotary_base and architecture.head_size % 2:
        raise FormatError(f"{prefix}.rotary_base is {layer.rotary_base}, but head_size is odd: features turn in pairs")
    if layer.rotary:
        if layer.rotary_base or layer.rotary > len(architecture.rotary_frequencies):
            raise FormatError(
                f"{prefix}.rotary is {layer.rotary}, but rotary_base {layer.rotary_base}, and rotary_frequencies has "
                f"{len(architecture.rotary_frequencies)} rows"
            )
        pairs = len(architecture.rotary_frequencies[layer.rotary - 1])
        if 2 * pairs != architecture.head_size:
            raise FormatError(f"{prefix}.rotary has {pairs} frequencies, but head_size is {architecture.head_size}")
    if architecture.position_bias:
        if layer.window:
            raise FormatError(f"{prefix}.window is {layer.window}, but position_bias is for attention to all tokens")
        specs.add(f"{prefix}.attention.position_bias", "F32", layer.num_heads, distances(architecture.max_positions))
    qkv = _add_linear(specs, linears, f"{prefix}.attention.qkv", hidden, 3 * attention)
    if architecture.relative_rows:
        if layer.window or architecture.position_bias:
            also = f"{prefix}.window is {layer.window}" if layer.window else "position_bias is true"
            raise FormatError(f"{also}, but relative_rows is for attention to all tokens without biases")
        for name in POSITION_TABLES:
            specs.relative(f"{prefix}.attention.{name}", architecture, layer.num_heads, qkv.kind == "float32")
    _add_linear(specs, linears, f"{prefix}.attention.output", attention, hidden_size)
    specs.norm(f"{prefix}.attention.norm", hidden)
    up = 2 * padded(layer.ffn_size) if architecture.gated else layer.ffn_size
    _add_linear(specs, linears, f"{prefix}.ffn.up", hidden, up, gated=architecture.gated)
    _add_linear(specs, linears, f"{prefix}.ffn.down", padded(layer.ffn_size), hidden_size)
    specs.norm(f"{prefix}.ffn.norm", hidden)


def _add_head(specs: _Specs, linears: _Linears, architecture: Architecture) -> int:
    """The layers behind the encoder, pooling among them; returns how wide the rows are that they return."""
    head, pool_after = architecture.head, architecture.pool_after
    if pool_after > (len(head) if architecture.poolings else 0):
        raise FormatError(
            f"config.architecture.pool_after is {pool_after}, but there are {len(head)} layers of the head and pooling "
            f"is {architecture.pooling}"
        )
    width = architecture.hidden_size
    for place in range(len(head) + 1):
        if place == pool_after:
            width *= len(architecture.poolings) or 1
        if place == len(head):
            break
        layer = head[place]
        if layer.kind == "norm":
            specs.norm(layer.name, padded(width))
        if layer.kind == "linear":
            outputs = _add_linear(specs, linears, layer.name, padded(width), None).out_features
            if layer.residual and outputs != width:
                raise FormatError(
                    f"{shown(layer.name)} has a residual, but takes {width} numbers and returns {outputs}"
                )
            width = outputs
        if layer.norm:
            specs.norm(f"{layer.name}.norm", padded(width))
    return width


class _Linears:
    """The linears of a config, each of which the architecture takes in one place."""

    def __init__(self, linears: Mapping[str, Linear]) -> None:
        self.all = linears
        self._left = dict(linears)

    def take(self, name: str, in_features: int, out_features: int | None) -> Linear:
        """The linear of a name, once its sizes are proven; None leaves the outputs to the file."""
        linear = self._left.pop(name, None)
        where = f"config.linears[{shown(name)}]"
        if linear is None:
            again = ": the architecture would have it in two places" if name in self.all else ""
            raise FormatError(f"config.linears lacks {shown(name)}{again}")
        for key, value, due in (
            ("in_features", linear.in_features, in_features),
            ("out_features", linear.out_features, out_features),
        ):
            if due is not None and value != due:
                raise FormatError(f"{where}.{key} is {value}, the architecture has {due}")
        if linear.out_features > MAX_OUTPUTS:
            raise FormatError(f"{where}.out_features is over {MAX_OUTPUTS}")
        return linear

    def end(self) -> None:
        """Refuse the linears that nobody took."""
        if self._left:
            name = next(iter(self._left))
            raise FormatError(f"config.linears holds {shown(name)}, which the architecture has no place for")


def _add_linear(
    specs: _Specs,
    linears: _Linears,
    name: str,
    in_features: int,
    out_features: int | None,
    *,
    gated: bool = False,
) -> Linear:
    """The linear of a name, with its low-rank part if it has one; None leaves the outputs to the file."""
    linear = linears.take(name, in_features, out_features)
    specs.linear(name, linear)
    if parts := low_rank_part(name, linears.all):
        down, up = parts
        first = linears.take(down, in_features, None)
        second = linears.take(up, padded(first.out_features), linear.out_features)
        if gated:
            raise FormatError(f"config.linears[{shown(down)}]: a gated linear has no low-rank part")
        for part, its in ((down, first), (up, second)):
            if (its.kind == "float32") != (linear.kind == "float32"):
                raise FormatError(f"config.linears[{shown(part)}].kind is {its.kind}, but {name} is {linear.kind}")
            specs.linear(part, its)
        if first.input_factor:
            raise FormatError(f"config.linears[{shown(down)}].input_factor: it reads the very codes that {name} reads")
    return linear


def _check_aliases(aliases: Mapping[str, str], specs: Mapping[str, TensorSpec]) -> None:
    for name, target in aliases.items():
        where = f"config.aliases[{shown(name)}]"
        if name not in specs:
            raise FormatError(f"{where}: the model has no such tensor")
        if target not in specs:
            raise FormatError(f"{where} is {shown(target)}, a tensor that the model doesn't have")
        if target in aliases:
            raise FormatError(f"{where} is {shown(target)}, itself an alias: an alias names a stored tensor")
        if specs[name] != specs[target]:
            mine, other = specs[name], specs[target]
            raise FormatError(
                f"{where} is {shown(target)}, which is {other.dtype} {list(other.shape)}; "
                f"{shown(name)} must be {mine.dtype} {list(mine.shape)}"
            )
