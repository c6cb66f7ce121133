"""From named tensors to the parts of a Network: Q, K and V in one matrix, inputs and heads padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minibert.errors import CheckpointError
from minibert.format.schema import padded

from ..network import Float32Array, LinearWeights, Network, Norm
from .config_file import ConfigFile
from .family import Family, Head, HeadSource
from .names import NamedTensors

#: What a transformer layer is made of, as in a Network.
LAYER_PARTS = ("attention.qkv", "attention.output", "attention.norm", "ffn.up", "ffn.down", "ffn.norm")


@dataclass(frozen=True)
class Sizes:
    """The numbers of config.json that give every tensor its shape.

    Attributes:
        max_positions: tokens of the longest text.
        embedding_size: columns of the embedding tables, if a matrix brings them to `hidden_size`; else 0.
        num_groups: layers that have weights of their own, which consecutive layers share; 0 if all do.
        first_position: rows of the position table before the one of a text's first token.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    ffn_size: int
    vocab_size: int
    max_positions: int
    token_types: int = 0
    embedding_size: int = 0
    num_groups: int = 0
    first_position: int = 0

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def table_size(self) -> int:
        """Columns of the embedding tables."""
        return self.embedding_size or self.hidden_size

    def group(self, layer: int) -> int:
        """Number of the weights that a layer uses."""
        return layer * self.num_groups // self.num_layers if self.num_groups else layer


def read_sizes(config: ConfigFile, family: Family, tensors: NamedTensors) -> Sizes:
    """The sizes, proved to go together.

    A checkpoint without a table of token types has none, whatever its config.json says: transformers would make one
    up at random.

    Raises:
        CheckpointError: a size is missing, absurd, or the heads do not divide the hidden size.
    """
    least = {"token_types": 0}
    numbers = {name: config.size(key, least.get(name, 1)) for name, key in family.sizes.items()}
    for size, name in (("token_types", "embeddings.token_type"), ("embedding_size", "embeddings.projection")):
        if f"{family.tensors.get(name)}.weight" not in tensors:
            if size == "embedding_size" and numbers.get(size) not in (None, numbers["hidden_size"]):
                tensors.refuse_missing([f"{family.tensors[name]}.weight"])
            numbers[size] = 0
    if family.padding_id is not None:
        numbers["first_position"] = config.size(family.padding_id, 0) + 1
        numbers["max_positions"] -= numbers["first_position"]
        if numbers["max_positions"] < 1:
            raise CheckpointError(
                f"{config.path}: {family.padding_id.name} leaves no row of the {family.sizes['max_positions'].name} "
                "rows of positions to a token"
            )
    sizes = Sizes(**numbers)
    if sizes.num_groups > sizes.num_layers:
        raise CheckpointError(
            f"{config.path}: {family.sizes['num_groups'].name} is {sizes.num_groups}, more than the layers"
        )
    if sizes.hidden_size % sizes.num_heads:
        raise CheckpointError(
            f"{config.path}: {family.sizes['num_heads'].name} is {sizes.num_heads}, which does not divide "
            f"{family.sizes['hidden_size'].name}, {sizes.hidden_size}"
        )
    return sizes


class EncoderReader:
    """Reads the parts of a network, one tensor at a time, into `network`.

    Args:
        tensors: the checkpoint's tensors by the family's names.
        family: the table of names.
        sizes: what the shapes must be.
        network: receives tables, linears, norms and origins.
    """

    def __init__(self, tensors: NamedTensors, family: Family, sizes: Sizes, network: Network) -> None:
        self._tensors = tensors
        self._family = family
        self._names = family.tensors
        self._sizes = sizes
        self._network = network

    def check_names(self, head: Head) -> None:
        """Finds everything that is missing before anything large is read.

        Raises:
            CheckpointError: naming the tensors that are missing.
        """
        wanted = []
        for name, source in self._names.items():
            if not self._is_there(name):
                continue
            endings = (".weight",) if _is_table(name) or self._family.optional_biases else (".weight", ".bias")
            layers = range(self._sizes.num_layers) if "{" in source else (0,)
            sources = dict.fromkeys(self._source(source, layer) for layer in layers)
            wanted += [stored + ending for stored in sources for ending in endings]
        for linear in head.linears:
            wanted += [linear.source + ".weight"] if not linear.tied else []
            if not self._family.optional_biases and linear.bias is None:
                wanted.append(linear.source + ".bias")
            wanted += [linear.norm + ".weight"] if linear.norm else []
        self._tensors.refuse_missing(wanted)

    def _is_there(self, name: str) -> bool:
        """Whether the checkpoint has a part that not every one of the family has."""
        optional = {
            "embeddings.token_type": self._sizes.token_types,
            "embeddings.projection": self._sizes.embedding_size,
        }
        return bool(optional.get(name, True))

    def _source(self, source: str, layer: int) -> str:
        return source.format(layer=layer, group=self._sizes.group(layer))

    def read_embeddings(self) -> None:
        """Word, position and token type tables, the LayerNorm after them, and what widens them."""
        first, columns = self._sizes.first_position, self._sizes.table_size
        rows = {
            "embeddings.word": self._sizes.vocab_size,
            "embeddings.position": first + self._sizes.max_positions,
            "embeddings.token_type": self._sizes.token_types,
        }
        for name, count in rows.items():
            if count and name in self._names:
                source = f"{self._names[name]}.weight"
                table = self._tensors.read(source, (count, columns))
                if name == "embeddings.position":
                    table = table[first:]
                self._network.tables[name] = np.ascontiguousarray(_pad(table, (len(table), padded(columns))))
                self._network.origins[name] = self._tensors.origin(source)
        self.read_norm("embeddings.norm", self._names["embeddings.norm"], columns)
        if self._sizes.embedding_size:
            name = "embeddings.projection"
            self.read_linear(name, self._names[name], self._sizes.hidden_size, columns)

    def read_layer(self, layer: int) -> None:
        """One transformer layer; one whose weights are those of an earlier layer becomes aliases."""
        hidden, ffn = self._sizes.hidden_size, self._sizes.ffn_size
        prefix = f"layers.{layer}"
        twin = next(other for other in range(layer + 1) if self._sizes.group(other) == self._sizes.group(layer))
        if twin != layer:
            for part in LAYER_PARTS:
                self._network.aliases[f"{prefix}.{part}"] = f"layers.{twin}.{part}"
            return
        sources = {
            name.removeprefix("layers.{layer}."): self._source(source, layer)
            for name, source in self._names.items()
            if name.startswith("layers.")
        }
        self._read_qkv(f"{prefix}.attention.qkv", [sources[f"attention.{part}"] for part in ("query", "key", "value")])
        self._read_attention_output(f"{prefix}.attention.output", sources["attention.output"])
        self.read_norm(f"{prefix}.attention.norm", sources["attention.norm"], hidden)
        self.read_linear(f"{prefix}.ffn.up", sources["ffn.up"], ffn, hidden)
        self.read_linear(f"{prefix}.ffn.down", sources["ffn.down"], hidden, ffn)
        self.read_norm(f"{prefix}.ffn.norm", sources["ffn.norm"], hidden)

    def read_head(self, head: Head) -> None:
        """The linears of a task."""
        width = self._sizes.hidden_size
        for linear in head.linears:
            outputs = self.outputs(linear)
            self._read_head_linear(linear, outputs, width)
            if linear.norm:
                self.read_norm(f"{linear.name}.norm", linear.norm, outputs)
            width = outputs

    def outputs(self, linear: HeadSource) -> int:
        """How many outputs a linear of a head has."""
        if linear.tied:
            return self._sizes.vocab_size
        shape = self._tensors.shape(f"{linear.source}.weight")
        return shape[0] if shape else 0

    def _read_head_linear(self, linear: HeadSource, outputs: int, width: int) -> None:
        weight, bias = f"{linear.source}.weight", f"{linear.source}.bias"
        if linear.tied and weight not in self._tensors:
            weight = f"{self._names['embeddings.word']}.weight"
        if bias not in self._tensors and linear.bias is not None:
            bias = linear.bias
        elif linear.bias is not None and linear.bias in self._tensors:
            self._tensors.read(linear.bias, (outputs,))  # the same numbers under a second name
        self._read_matrix(linear.name, weight, bias, outputs, width)

    def _read_qkv(self, name: str, sources: list[str]) -> None:
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        d = padded(head_size)
        weight = np.zeros((3, heads, d, padded(hidden)), np.float32)
        bias = np.zeros((3, heads, d), np.float32)
        for part, source in enumerate(sources):
            rows = self._tensors.read(f"{source}.weight", (hidden, hidden))
            weight[part, :, :head_size, :hidden] = rows.reshape(heads, head_size, hidden)
            bias[part, :, :head_size] = self._read_bias(f"{source}.bias", hidden).reshape(heads, head_size)
        self._add_linear(name, weight.reshape(3 * heads * d, padded(hidden)), bias.reshape(-1), sources)

    def _read_attention_output(self, name: str, source: str) -> None:
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        columns = self._tensors.read(f"{source}.weight", (hidden, hidden)).reshape(hidden, heads, head_size)
        weight = _pad(columns, (hidden, heads, padded(head_size))).reshape(hidden, -1)
        self._add_linear(name, weight, self._read_bias(f"{source}.bias", hidden), [source])

    def _add_linear(self, name: str, weight: Float32Array, bias: Float32Array, sources: list[str]) -> None:
        self._network.linears[name] = LinearWeights(weight, bias)
        stored = [source + ending for source in sources for ending in (".weight", ".bias")]
        self._network.origins[name] = self._tensors.origin(*self._stored(*stored))

    def read_norm(self, name: str, source: str, size: int) -> None:
        """A LayerNorm of `size` columns; no bias is one of zeros."""
        weight = self._tensors.read(f"{source}.weight", (size,))
        bias = self._read_bias(f"{source}.bias", size)
        self._network.norms[name] = Norm(_pad(weight, (padded(size),)), _pad(bias, (padded(size),)))
        self._network.origins[name] = self._tensors.origin(*self._stored(f"{source}.weight", f"{source}.bias"))

    def read_linear(self, name: str, source: str, out_features: int, in_features: int) -> None:
        """A matrix, inputs padded with zeros."""
        self._read_matrix(name, f"{source}.weight", f"{source}.bias", out_features, in_features)

    def _read_matrix(self, name: str, weight: str, bias: str, out_features: int, in_features: int) -> None:
        values = self._tensors.read(weight, (out_features, in_features))
        self._network.linears[name] = LinearWeights(
            _pad(values, (out_features, padded(in_features))), self._read_bias(bias, out_features)
        )
        self._network.origins[name] = self._tensors.origin(*self._stored(weight, bias))

    def _read_bias(self, name: str, size: int) -> Float32Array:
        """A bias; zeros where the family may leave it out and the checkpoint does."""
        if self._family.optional_biases and name not in self._tensors:
            return np.zeros(size, np.float32)
        return self._tensors.read(name, (size,))

    def _stored(self, *names: str) -> list[str]:
        return [name for name in names if name in self._tensors]


def read_linear(
    network: Network,
    tensors: NamedTensors,
    name: str,
    source: str,
    out_features: int,
    in_features: int,
    *,
    has_bias: bool = True,
) -> None:
    """Reads a matrix and its bias into `network`, inputs padded with zeros; no bias is one of zeros.

    Raises:
        CheckpointError: a tensor is missing, of another shape, or holds values that are not finite.
    """
    stored = [f"{source}.weight", f"{source}.bias"][: 1 + has_bias]
    weight = _pad(tensors.read(stored[0], (out_features, in_features)), (out_features, padded(in_features)))
    bias = tensors.read(stored[1], (out_features,)) if has_bias else np.zeros(out_features, np.float32)
    network.linears[name] = LinearWeights(weight, bias)
    network.origins[name] = tensors.origin(*stored)


def _is_table(name: str) -> bool:
    return name in ("embeddings.word", "embeddings.position", "embeddings.token_type")


def _pad(values: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """`values` with zeros after them along each axis, up to `shape`."""
    if values.shape == shape:
        return values
    return np.pad(values, [(0, target - size) for size, target in zip(values.shape, shape, strict=True)])
