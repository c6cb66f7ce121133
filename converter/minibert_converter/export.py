"""A Network becomes what a minibert file holds: the config, and every tensor in the layout that the kernels read."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minibert.errors import FormatError
from minibert.format import (
    Config,
    Linear,
    filled_blocks,
    pack_blocks,
    pack_codebook,
    pack_float32,
    pack_int4,
    pack_int4_blocks,
    pack_int8,
    pack_nibbles,
    pack_tokenizer,
    padded,
)
from minibert.format.constants import CODEBOOK_VALUES, LANES, TableKind
from minibert.format.four_bit import weight_sums
from minibert.format.parts import Table
from minibert.format.pieces import restored_json
from minibert.format.record import as_json
from minibert.format.relative import POSITION_TABLES
from minibert.format.tensors import TOKENIZER
from minibert.format.token_tables import Tokenization, expanded
from minibert.numerics import ATTENTION_LIMIT
from minibert.reference.functions import quantize_symmetric
from minibert_converter.network import (
    AnyTable,
    BlockGrid,
    CodebookGrid,
    CodebookTable,
    GroupGrid,
    Int4Table,
    Int8Array,
    LinearWeights,
    Network,
    QuantizedLinear,
    TiedLinear,
)
from minibert_converter.tokens.compile import Tables, compile_tokenizer
from minibert_converter.tokens.refusal import NoTables

Tensors = dict[str, npt.NDArray[Any]]

#: Above this density a block-sparse matrix is hardly smaller than a dense one: a block takes 18 bytes instead of 16.
SPARSE_THRESHOLD = 0.6
#: The tensors of a matrix that another one can share, its bias being its own.
SHARED_PARTS = (
    *("weight", "blocks", "index", "starts", "codes", "multiplier", "codebook"),
    *("scale", "weight_sum", "input_factor"),
)
#: Up to this density blocks of int8 are also smaller than a dense matrix of codes into codebooks.
CODEBOOK_DENSITY = 0.44
#: The table that a linear of the head may be.
WORDS = "embeddings.word"
_PANELS: dict[str, TableKind] = {"float32": "float32-panels", "int8": "int8-panels"}


def export(network: Network, sparse_threshold: float = SPARSE_THRESHOLD) -> tuple[Config, Tensors]:
    """The config and tensors of the file; what `minibert.format.write_model` takes.

    Args:
        network: the model; not changed, and its tables are not copied.
        sparse_threshold: an int8 matrix is stored block-sparse if at most this fraction of its 4x4 blocks, from 0 to
            1, holds a weight that isn't zero; else dense. (Of an int4 one this was decided before it was rounded.)

    Returns:
        The config, without a report yet, and tensors by name as docs/FORMAT.md has them; an alias is the very array
        that it stands for.
    """
    linears: dict[str, Linear] = {}
    tensors: Tensors = {}
    for name, table in network.tables.items():
        tensors |= table_tensors(name, table)
    for name, linear in network.linears.items():
        if isinstance(linear, TiedLinear):
            continue
        tied = network.aliases.get(WORDS) == name  # rows are looked up in it: every block is there
        linears[name], stored = store_linear(name, linear, -1.0 if tied else sparse_threshold)
        tensors |= stored
    for name, norm in network.norms.items():
        tensors |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    relative = {name: table for name, table in network.attention_tables.items() if name.endswith(POSITION_TABLES)}
    tensors |= {name: table for name, table in network.attention_tables.items() if name not in relative}
    tables = {name: _table_schema(table) for name, table in network.tables.items()}
    aliases: dict[str, str] = {}
    for name, linear in network.linears.items():
        if isinstance(linear, TiedLinear):
            linears[name] = linears[linear.target]
            tensors[f"{name}.bias"] = to_panels(linear.bias)
            parts = (f"{linear.target}.{part}" for part in SHARED_PARTS)
            aliases |= {f"{name}.{part.rpartition('.')[2]}": part for part in parts if part in tensors}
    for alias, target in network.aliases.items():
        parts = [name.removeprefix(target) for name in tensors if name == target or name.startswith(f"{target}.")]
        if alias == WORDS:
            parts = [part for part in parts if part in (".weight", ".scale")]
            tables[alias] = Table(_PANELS[linears[target].kind], network.architecture.vocab_size)
        elif target in linears:
            parts = [part for part in parts if not part.startswith(".norm.")]
            linears[alias] = linears[target]
        aliases |= {f"{alias}{part}": f"{target}{part}" for part in parts}
    for name, table in relative.items():
        exact = linears[f"{name.rpartition('.')[0]}.qkv"].kind == "float32"
        tensors |= {f"{name}.weight": table} if exact else _quantized_rows(name, table)
    tensors |= {alias: tensors[name] for alias, name in aliases.items()}
    tokens = token_tables(network.tokenizer_json, network.architecture.vocab_size)
    tensors |= tokens.tensors
    config = Config(
        architecture=network.architecture,
        task=network.task,
        text=replace(network.text, tables=tokens.tables),
        linears=linears,
        tables=tables,
        aliases=aliases,
        recipe=network.recipe,
        provenance=dict(network.provenance) | ({"tokens": tokens.refusal} if tokens.refusal else {}),
    )
    return config, tensors


class TokenTables(NamedTuple):
    """What a file holds of a tokenizer.

    Attributes:
        tables: what the config says of its tables; None if it has none.
        tensors: tensors of the tables, if there are any, and "tokenizer.json".
        refusal: why it has no tables, as the end of a sentence.
    """

    tables: Tokenization | None
    tensors: Tensors
    refusal: str = ""


@lru_cache(maxsize=4)  # a conversion exports its network after each pass, with one tokenizer or two
def token_tables(tokenizer_json: str, vocab_size: int) -> TokenTables:
    """What a file holds of a tokenizer: tables wherever they say all that tokenizer.json says, else that.

    Args:
        tokenizer_json: the tokenizer, as the tokenizers library writes it.
        vocab_size: words that the network has.
    """
    try:
        found = compile_tokenizer(tokenizer_json, vocab_size)
        _prove_readable(found, tokenizer_json)
    except NoTables as refusal:
        return TokenTables(None, {TOKENIZER: pack_tokenizer(tokenizer_json)}, str(refusal))
    return TokenTables(found.tokenization, {**found.tensors, TOKENIZER: pack_tokenizer(found.rest)})


def _prove_readable(found: Tables, tokenizer_json: str) -> None:
    """Raise NoTables unless a reader will take the tables, and put the same tokenizer.json together again."""
    try:
        Tokenization.from_json(as_json(found.tokenization), "its tables")
        text = restored_json(found.rest, found.tokenization, expanded(found.tokenization, found.tensors))
    except FormatError as error:
        raise NoTables(str(error)) from None
    given, restored = (_comparable(json.loads(each)) for each in (tokenizer_json, text))
    if given != restored:
        raise NoTables("its tokenizer.json says what tables have no place for")


def _comparable(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json with its merges as pairs: some have "a b" for ["a", "b"]."""
    merges = tokenizer["model"].get("merges")
    pairs = {} if merges is None else {"merges": [each.split(" ") if type(each) is str else each for each in merges]}
    return tokenizer | {"model": tokenizer["model"] | pairs}


def store_linear(name: str, linear: LinearWeights | QuantizedLinear, sparse_threshold: float) -> tuple[Linear, Tensors]:
    """One matrix: what the config says of it, and its tensors, vectors padded to whole panels of 16 outputs."""
    schema = linear.schema()
    if isinstance(linear, LinearWeights):
        return schema, {f"{name}.weight": pack_float32(linear.weight), f"{name}.bias": to_panels(linear.bias)}
    tensors: Tensors
    if isinstance(linear.grid, GroupGrid):
        schema, tensors = _int4(name, linear.q, linear.grid, schema)
    elif isinstance(linear.grid, BlockGrid):
        schema, tensors = _int4_blocks(name, linear.q, linear.grid, schema)
    else:
        kept = filled_blocks(linear.q)
        sparse = replace(schema, kind="int8-4x4", blocks=int(np.count_nonzero(kept)))
        if sparse.density <= (sparse_threshold if linear.grid is None else min(sparse_threshold, CODEBOOK_DENSITY)):
            schema = sparse
            blocks, indices, indptr = pack_blocks(linear.q, kept)
            tensors = {f"{name}.blocks": blocks, f"{name}.index": indices, f"{name}.starts": indptr}
        elif linear.grid is not None:
            schema, tensors = _codebook(name, linear.q, linear.grid, schema)
        else:
            tensors = {f"{name}.weight": pack_int8(linear.q)}
    tensors[f"{name}.scale"] = to_panels(linear.scale)
    # Outputs that only fill up a panel have a weight too where codes are places in a codebook.
    sums = to_panels(linear.q.sum(axis=1, dtype=np.int32))
    tensors[f"{name}.weight_sum"] = weight_sums(name, schema, tensors) if schema.kind == "codebook" else sums
    if linear.input_factor is not None:
        tensors[f"{name}.input_factor"] = linear.input_factor
    tensors[f"{name}.bias"] = to_panels(linear.bias)
    return schema, tensors


def _int4(name: str, q: Int8Array, grid: GroupGrid, schema: Linear) -> tuple[Linear, Tensors]:
    """The codes of an int8 matrix [out, in] all of whose weights lie on a grid, and what the config says of it."""
    codes = _codes(name, q, grid.steps(q.shape[1]))
    packed = zip((f"{name}.codes", f"{name}.multiplier"), pack_int4(codes, grid.multiplier), strict=True)
    return replace(schema, kind="int4", group_size=grid.group_size, weight_sum=True), dict(packed)


def _int4_blocks(name: str, q: Int8Array, grid: BlockGrid, schema: Linear) -> tuple[Linear, Tensors]:
    """The same of a matrix of which only some blocks are stored, though rounding may have left nothing in one."""
    blocks, indices, indptr = pack_blocks(_codes(name, q, grid.steps()[: len(q)]), grid.kept)
    packed = {"codes": pack_int4_blocks(blocks), "index": indices, "starts": indptr, "multiplier": grid.multiplier}
    tensors = {f"{name}.{part}": tensor for part, tensor in packed.items()}
    return replace(schema, kind="int4-4x4", blocks=len(blocks)), tensors


def _codes(name: str, q: Int8Array, steps: npt.NDArray[np.uint8]) -> Int8Array:
    """Weights [out, in] in units of their own steps."""
    codes = q // steps.view(np.int8)
    if (codes * steps.view(np.int8) != q).any():
        raise ValueError(f"{name} has weights beside its grid")
    return codes


def _codebook(name: str, q: Int8Array, grid: CodebookGrid, schema: Linear) -> tuple[Linear, Tensors]:
    """The places of an int8 matrix's weights in the codebooks of their panels."""
    codes = np.zeros(q.shape, np.uint8)
    found = np.zeros(q.shape, bool)
    for place in range(CODEBOOK_VALUES):
        same = q == grid.values[:, place].repeat(LANES)[: len(q), None]
        codes[same], found[same] = place, True
    if not found.all():
        raise ValueError(f"{name} has weights beside its grid")
    return replace(schema, kind="codebook", weight_sum=True), {
        f"{name}.codes": pack_codebook(codes),
        f"{name}.codebook": grid.values,
    }


def table_tensors(name: str, table: AnyTable) -> Tensors:
    """The tensors of one embedding table."""
    if isinstance(table, np.ndarray):
        return {f"{name}.weight": table}
    scale = {f"{name}.scale": to_panels(table.scale)}
    if isinstance(table, Int4Table):
        return {f"{name}.codes": pack_nibbles(table.codes), f"{name}.multiplier": table.multiplier} | scale
    if isinstance(table, CodebookTable):
        return {f"{name}.codes": table.codes, f"{name}.codebook": table.codebook} | scale
    return {f"{name}.weight": table.q} | scale


def _quantized_rows(name: str, table: npt.NDArray[Any]) -> Tensors:
    """A table [rows, heads, d] in int8, one scale for each row and head, as attention has queries and keys."""
    q, scale = quantize_symmetric(table, ATTENTION_LIMIT)
    return {f"{name}.weight": q.astype(np.int8), f"{name}.scale": scale}


def _table_schema(table: AnyTable) -> Table:
    return Table("float32", table.shape[0]) if isinstance(table, np.ndarray) else table.schema()


def to_panels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A vector, or the rows of a matrix, with zeros up to a whole number of panels of 16; itself if there are none."""
    missing = padded(len(values)) - len(values)
    return values if not missing else np.pad(values, ((0, missing), *[(0, 0)] * (values.ndim - 1)))
