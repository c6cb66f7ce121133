"""The one in-memory model that every pass of a conversion transforms: checkpoint -> Network -> passes -> file.

Names, order of rows and padding are already those of the file (see minibert.format.schema and docs/FORMAT.md), so
that a pass sees the very matrices the kernels will multiply; only the byte layout is left to `export`. With
H = padded(hidden_size), d = padded(head_size) and F = padded(ffn_size):

    tables   embeddings.{word,position,token_type}   [rows, H], or [rows, padded(embedding_size)]; words of a
             low rank [rows, padded(word_size)]
    norms    embeddings.norm, layers.L.attention.norm, layers.L.ffn.norm   weight and bias [H]
    linears  layers.L.attention.qkv      [3 * heads * d, H]   all Q heads, all K heads, all V heads
             layers.L.attention.output   [hidden_size, heads * d]
             layers.L.ffn.up             [ffn_size, H]; gated: [2 F, H], the activated half first
             layers.L.ffn.down           [hidden_size, F]
             NAME.low_rank.down, NAME.low_rank.up   [rank, in], [out, padded(rank)]   what is added to NAME's result;
                                         once quantized, down reads the codes that NAME reads, its input_factor included
             head.*, tokens.*            [out, padded(in)]
             embeddings.projection       [hidden_size, padded(embedding_size)]   where embeddings are narrower
             embeddings.word_projection  [hidden_size, padded(word_size)]        where words alone are

Inputs are padded with zero columns; outputs are the real ones, except the rows of the padded heads in qkv.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.format.constants import BLOCK, GROUP, NIBBLE_GROUP, RUN
from minibert.format.parts import Linear, Table
from minibert.format.schema import Architecture, Task, TextConfig

Float32Array = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]


@dataclass
class LinearWeights:
    """A matrix in float32: `y = weight @ x + bias`.

    Attributes:
        weight: float32 [out, in].
        bias: float32 [out].
    """

    weight: Float32Array
    bias: Float32Array

    def schema(self) -> Linear:
        """What the file's config says of this matrix."""
        return Linear(kind="float32", in_features=self.weight.shape[1], out_features=self.weight.shape[0])


@dataclass
class TiedLinear:
    """A matrix that is another one's, weights, scales and input factor, with a bias of its own.

    Attributes:
        target: the name of that one, a LinearWeights or QuantizedLinear.
        bias: float32 [out].
    """

    target: str
    bias: Float32Array


@dataclass(frozen=True)
class GroupGrid:
    """int8 weights that are codes in [-7, 7] times a multiplier, stored as kind "int4".

    Attributes:
        multiplier: uint8 [out, groups], from 1 to 18.
        group_size: inputs that share one, a multiple of 4.
    """

    multiplier: npt.NDArray[np.uint8]
    group_size: int

    def steps(self, in_features: int) -> npt.NDArray[np.uint8]:
        """The multiplier of each weight: uint8 [out, in]."""
        return np.repeat(self.multiplier, self.group_size, axis=1)[:, :in_features]


@dataclass(frozen=True)
class BlockGrid:
    """int8 weights in some of a matrix's 4x4 blocks, codes in [-7, 7] times a multiplier, stored as kind "int4-4x4".

    Attributes:
        kept: bool [out / 4, rounded up, in / 4], the blocks that are stored; all other weights are zero.
        multiplier: uint8 [runs of 8 blocks in the order in which they are stored, 4], from 1 to 18: one for each output
            of the run's blocks, which may belong to several groups of outputs.
    """

    kept: npt.NDArray[np.bool_]
    multiplier: npt.NDArray[np.uint8]

    def steps(self) -> npt.NDArray[np.uint8]:
        """The multiplier of each weight, 1 outside of the blocks: uint8 [padded out, in]."""
        by_block = np.ones((*self.kept.shape, BLOCK), np.uint8)
        by_block[self.kept] = np.repeat(self.multiplier, RUN, axis=0)[: np.count_nonzero(self.kept)]
        return np.repeat(by_block.transpose(0, 2, 1).reshape(-1, self.kept.shape[1]), GROUP, axis=1)


@dataclass(frozen=True)
class CodebookGrid:
    """int8 weights that are among sixteen values of their panel of outputs, stored as kind "codebook".

    Attributes:
        values: int8 [padded(out) / 16, 16].
    """

    values: Int8Array


@dataclass
class QuantizedLinear:
    """A matrix in int8 with one scale an output: `y = scale * (q @ (input_factor * x)) + bias`.

    Attributes:
        q: int8 [out, in], in [-127, 127].
        scale: float32 [out].
        bias: float32 [out].
        input_factor: float32 [in], multiplies the input before it is quantized; None is a factor of 1.
        grid: on what all of `q` lies, if it is to be stored in four bits; None stores int8.
    """

    q: Int8Array
    scale: Float32Array
    bias: Float32Array
    input_factor: Float32Array | None = None
    grid: GroupGrid | BlockGrid | CodebookGrid | None = None

    def dequantized(self) -> Float32Array:
        """The float32 [out, in] weights that this matrix stands for, in terms of the original input."""
        weight = self.q.astype(np.float32) * self.scale[:, None]
        return weight if self.input_factor is None else weight * self.input_factor[None, :]

    def schema(self) -> Linear:
        """What the file's config says of this matrix."""
        return Linear(
            kind="int8",
            in_features=self.q.shape[1],
            out_features=self.q.shape[0],
            input_factor=self.input_factor is not None,
        )


@dataclass
class QuantizedTable:
    """An embedding table in int8 with one scale a row: `row(i) = scale[i] * q[i]`.

    Attributes:
        q: int8 [rows, H], in [-127, 127].
        scale: float32 [rows].
    """

    q: Int8Array
    scale: Float32Array

    def dequantized(self) -> Float32Array:
        """The float32 [rows, H] rows that this table stands for."""
        return self.q.astype(np.float32) * self.scale[:, None]

    def schema(self) -> Table:
        """What the file's config says of this table."""
        return Table(kind="int8", rows=self.q.shape[0])


@dataclass
class Int4Table:
    """An embedding table in 4-bit codes: `row(i)[k] = scale[i] * multiplier[i, k // 32] * codes[i, k]`.

    Attributes:
        codes: int8 [rows, H], in [-7, 7].
        multiplier: uint8 [rows, groups of 32 columns], in [1, 18].
        scale: float32 [rows].
    """

    codes: Int8Array
    multiplier: npt.NDArray[np.uint8]
    scale: Float32Array

    def dequantized(self) -> Float32Array:
        """The float32 [rows, H] rows that this table stands for."""
        times = np.repeat(self.multiplier, NIBBLE_GROUP, axis=1)[:, : self.codes.shape[1]]
        return (self.codes * times.astype(np.int16)).astype(np.float32) * self.scale[:, None]

    def schema(self) -> Table:
        """What the file's config says of this table."""
        return Table(kind="int4", rows=self.codes.shape[0])


@dataclass
class CodebookTable:
    """An embedding table of entries of codebooks, one for each s columns.

    With entry = codebook[p, codes[i, p]], `row(i)[s p : s p + s] = scale[i] * entry`.

    Attributes:
        codes: uint8 [rows, H / s].
        codebook: int8 [H / s, 256, s], in [-127, 127].
        scale: float32 [rows].
    """

    codes: npt.NDArray[np.uint8]
    codebook: Int8Array
    scale: Float32Array

    def entries(self, rows: slice) -> Int8Array:
        """Rows without their scales, int8 [n, H]."""
        codes = self.codes[rows]
        return self.codebook[np.arange(codes.shape[1]), codes].reshape(len(codes), -1)

    def dequantized(self) -> Float32Array:
        """The float32 [rows, H] rows that this table stands for."""
        return self.entries(slice(None)).astype(np.float32) * self.scale[:, None]

    def schema(self) -> Table:
        """What the file's config says of this table."""
        return Table(kind="codebook", rows=self.codes.shape[0], subvector_size=self.codebook.shape[2])


@dataclass
class Norm:
    """A LayerNorm's weight and bias, float32 [H], zero in the padding."""

    weight: Float32Array
    bias: Float32Array


@dataclass(frozen=True)
class Origin:
    """What a part of the network was in the checkpoint: real parameters, and the bytes they took there."""

    parameters: int
    bytes: int


AnyLinear = LinearWeights | QuantizedLinear | TiedLinear
CompactTable = QuantizedTable | Int4Table | CodebookTable
AnyTable = Float32Array | CompactTable


@dataclass
class Network:
    """A model under conversion. Passes replace entries of `tables` and `linears` and may change `architecture`.

    Attributes:
        architecture: the shape of the network.
        task: what the outputs mean.
        text: how text becomes ids, beside the tokenizer itself.
        tokenizer_json: the tokenizer, as the tokenizers library writes it.
        tables: embedding tables by name.
        linears: matrices by name.
        norms: LayerNorms by name (without `.weight` and `.bias`).
        attention_tables: what attention knows of distances, by name: layers.L.attention.position_bias, float32 [heads,
            columns] as in the file; layers.L.attention.position_key and position_query, float32 [rows, heads, d]; and
            embeddings.distance_rows, int32, the row of each distance.
        aliases: linears, norms and tables of attention that are another one: the name of each -> the name of that one.
            They are stored once, and a pass that changes the one changes all. "embeddings.word" may be a linear of the
            head, which then has no input_factor.
        origins: for each name in `tables`, `linears` and `norms`, what it was in the checkpoint.
        provenance: where the model came from, as plain JSON values; kept in the file.
        recipe: what was done to it, as plain JSON values (`Recipe.to_json`); kept in the file.
        notes: what the reader had to guess or leave out, in sentences for the user.
        layer_numbers: for each layer, its number in the checkpoint, if layers were taken out; else empty.
    """

    architecture: Architecture
    task: Task
    text: TextConfig
    tokenizer_json: str
    tables: dict[str, AnyTable] = field(default_factory=dict)
    linears: dict[str, AnyLinear] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=dict)
    attention_tables: dict[str, Float32Array | npt.NDArray[np.int32]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    layer_numbers: tuple[int, ...] = ()

    def copy(self) -> Network:
        """A network whose entries passes may replace; the arrays are the same."""
        return Network(**{each.name: copy.copy(getattr(self, each.name)) for each in fields(self)})

    def need_layers(self, what: str) -> None:
        """Raise InputError if `what` is done to layers and there are none."""
        if not self.architecture.layers:
            raise InputError(f"{what} is for layers, and the model has none: only a table of tokens' vectors")

    @property
    def checkpoint_layers(self) -> tuple[int, ...]:
        """The number that each layer had in the checkpoint."""
        return self.layer_numbers or tuple(range(len(self.architecture.layers)))

    def checkpoint_name(self, name: str) -> str:
        """What a part of a layer, such as "layers.0.ffn.up", was called in the checkpoint."""
        _, number, part = name.split(".", 2)
        return f"layers.{self.checkpoint_layers[int(number)]}.{part}"
