"""From named tensors to the parts of a Network: Q, K and V in one matrix, inputs and heads padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minibert.errors import CheckpointError
from minibert.format.schema import padded

from ..network import Float32Array, LinearWeights, Network, Norm
from .config_file import ConfigFile
from .family import Family, Head
from .names import NamedTensors


@dataclass(frozen=True)
class Sizes:
    """The numbers of config.json that give every tensor its shape."""

    hidden_size: int
    num_layers: int
    num_heads: int
    ffn_size: int
    vocab_size: int
    max_positions: int
    token_types: int

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_heads


def read_sizes(config: ConfigFile, family: Family, tensors: NamedTensors) -> Sizes:
    """The sizes, proved to go together.

    A checkpoint without a table of token types has none, whatever its config.json says: transformers would make one
    up at random.

    Raises:
        CheckpointError: a size is missing, absurd, or the heads do not divide the hidden size.
    """
    least = {"token_types": 0}
    numbers = {name: config.size(key, least.get(name, 1)) for name, key in family.sizes.items()}
    source = family.tensors.get("embeddings.token_type")
    if source is None or f"{source}.weight" not in tensors:
        numbers["token_types"] = 0
    sizes = Sizes(**numbers)
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
            if name == "embeddings.token_type" and not self._sizes.token_types:
                continue
            endings = (".weight",) if _is_table(name) else (".weight", ".bias")
            layers = range(self._sizes.num_layers) if "{layer}" in name else (0,)
            wanted += [source.format(layer=layer) + ending for layer in layers for ending in endings]
        wanted += [linear.source + ending for linear in head.linears for ending in (".weight", ".bias")]
        self._tensors.refuse_missing(wanted)

    def read_embeddings(self) -> None:
        """Word, position and token type tables, and the LayerNorm after them."""
        rows = {
            "embeddings.word": self._sizes.vocab_size,
            "embeddings.position": self._sizes.max_positions,
            "embeddings.token_type": self._sizes.token_types,
        }
        hidden = self._sizes.hidden_size
        for name, count in rows.items():
            if count:
                source = f"{self._names[name]}.weight"
                table = _pad(self._tensors.read(source, (count, hidden)), (count, padded(hidden)))
                self._network.tables[name] = table
                self._network.origins[name] = self._tensors.origin(source)
        self._read_norm("embeddings.norm", self._names["embeddings.norm"])

    def read_layer(self, layer: int) -> None:
        """One transformer layer."""
        hidden, ffn = self._sizes.hidden_size, self._sizes.ffn_size
        sources = {
            name.removeprefix("layers.{layer}."): source.format(layer=layer)
            for name, source in self._names.items()
            if "{layer}" in name
        }
        prefix = f"layers.{layer}"
        self._read_qkv(f"{prefix}.attention.qkv", [sources[f"attention.{part}"] for part in ("query", "key", "value")])
        self._read_attention_output(f"{prefix}.attention.output", sources["attention.output"])
        self._read_norm(f"{prefix}.attention.norm", sources["attention.norm"])
        read_linear(self._network, self._tensors, f"{prefix}.ffn.up", sources["ffn.up"], ffn, hidden)
        read_linear(self._network, self._tensors, f"{prefix}.ffn.down", sources["ffn.down"], hidden, ffn)
        self._read_norm(f"{prefix}.ffn.norm", sources["ffn.norm"])

    def _read_qkv(self, name: str, sources: list[str]) -> None:
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        d = padded(head_size)
        weight = np.zeros((3, heads, d, padded(hidden)), np.float32)
        bias = np.zeros((3, heads, d), np.float32)
        for part, source in enumerate(sources):
            rows = self._tensors.read(f"{source}.weight", (hidden, hidden))
            weight[part, :, :head_size, :hidden] = rows.reshape(heads, head_size, hidden)
            bias[part, :, :head_size] = self._tensors.read(f"{source}.bias", (hidden,)).reshape(heads, head_size)
        self._add_linear(name, weight.reshape(3 * heads * d, padded(hidden)), bias.reshape(-1), sources)

    def _read_attention_output(self, name: str, source: str) -> None:
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        columns = self._tensors.read(f"{source}.weight", (hidden, hidden)).reshape(hidden, heads, head_size)
        weight = _pad(columns, (hidden, heads, padded(head_size))).reshape(hidden, -1)
        self._add_linear(name, weight, self._tensors.read(f"{source}.bias", (hidden,)), [source])

    def _add_linear(self, name: str, weight: Float32Array, bias: Float32Array, sources: list[str]) -> None:
        self._network.linears[name] = LinearWeights(weight, bias)
        stored = [source + ending for source in sources for ending in (".weight", ".bias")]
        self._network.origins[name] = self._tensors.origin(*stored)

    def _read_norm(self, name: str, source: str) -> None:
        hidden = self._sizes.hidden_size
        weight, bias = (self._tensors.read(f"{source}.{part}", (hidden,)) for part in ("weight", "bias"))
        self._network.norms[name] = Norm(_pad(weight, (padded(hidden),)), _pad(bias, (padded(hidden),)))
        self._network.origins[name] = self._tensors.origin(f"{source}.weight", f"{source}.bias")


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
