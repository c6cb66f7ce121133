"""From named tensors to the parts of a Network: Q, K and V in one matrix, inputs and heads padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minibert.format.constants import LANES, distances, padded
from minibert.format.relative import DISTANCE_ROWS, POSITION_TABLES
from minibert.numerics import LOG2_E
from minibert_converter.checkpoints.family import Family, Head, HeadSource, RelativePositions
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.sizes import Sizes
from minibert_converter.matrices import LAYER_PARTS
from minibert_converter.network import Float32Array, LinearWeights, Network, Norm


def as_stored(family: Family, tensors: NamedTensors) -> Family:
    """The family with the one of its tables that names what the checkpoint has."""
    for names in family.layouts:
        first = (name.format(layer=0, next=1, group=0) for part, name in names.items() if part.startswith("layers."))
        if all(f"{name}.weight" in tensors for name in first):
            return replace(family, tensors=names)
    return family


class EncoderReader:
    """Reads the parts of a network, one tensor at a time, into `network`.

    Args:
        tensors: the checkpoint's tensors by the family's names.
        family: the table of names.
        sizes: what the shapes must be.
        network: receives tables, linears, norms and origins.
        query_factors: what each layer's queries are multiplied by, beside the 1 / sqrt(head_size) of all networks.
    """

    def __init__(
        self, tensors: NamedTensors, family: Family, sizes: Sizes, network: Network, query_factors: Sequence[float]
    ) -> None:
        self._query_factors = query_factors
        self._tensors = tensors
        self._family = family
        self._names = family.tensors
        self._sizes = sizes
        self._network = network

    def check_names(self, head: Head, relative: RelativePositions | None = None) -> None:
        """Finds everything that is missing before anything large is read.

        Raises:
            CheckpointError: naming the tensors that are missing.
        """
        wanted = []
        for name, source in self._names.items():
            if not self._is_there(name):
                continue
            if name == "embeddings.word":
                wanted.append(self._word_source())
                continue
            endings = (".weight",) if _is_table(name) or self._family.optional_biases else (".weight", ".bias")
            layers = range(self._sizes.num_layers) if "{" in source else (0,)
            sources = dict.fromkeys(self._source(name, layer) for layer in layers)
            if name.endswith("attention.qkv") and self._family.biases_by_head:
                endings = (".weight",)
                wanted += [bias.format(layer=layer) for bias in self._family.biases_by_head for layer in layers]
            wanted += [stored + ending for stored in sources for ending in endings]
        if relative:
            wanted.append(f"{relative.table}.weight")
            wanted += [f"{relative.norm}{ending}" for ending in (".weight", ".bias") if relative.norm]
            for source in (relative.key, relative.query):
                wanted += [f"{source.format(layer=layer)}.weight" for layer in range(self._sizes.num_layers)]
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
            "embeddings.task_type": self._sizes.task_types,
            "embeddings.projection": self._sizes.embedding_size,
        }
        return bool(optional.get(name, True))

    def _word_source(self) -> str:
        """The words' table, or the decoder's, where the checkpoint stores what both share under that name alone."""
        own = f"{self._names['embeddings.word']}.weight"
        linears = (linear for head in self._family.heads.values() for linear in head.linears)
        others = [f"{name}.weight" for name in self._family.words]
        others += [f"{linear.source}.weight" for linear in linears if linear.tied]
        return own if own in self._tensors else next((name for name in others if name in self._tensors), own)

    def _source(self, name: str, layer: int) -> str:
        """The checkpoint's name of a layer's part."""
        if self._family.last_norm and name.endswith("ffn.norm") and layer + 1 == self._sizes.num_layers:
            return self._family.last_norm
        return self._names[name].format(layer=layer, next=layer + 1, group=self._sizes.group(layer))

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
                source = self._word_source() if name == "embeddings.word" else f"{self._names[name]}.weight"
                table = self._tensors.read(source, (count, columns))
                sources = [source]
                if name == "embeddings.position":
                    table = table[first:]
                    if self._sizes.task_types:  # every token has a position, and all have the first task
                        sources.append(f"{self._names['embeddings.task_type']}.weight")
                        table = table + self._tensors.read(sources[1], (self._sizes.task_types, columns))[0]
                self._network.tables[name] = np.ascontiguousarray(_pad(table, (len(table), padded(columns))))
                self._network.origins[name] = self._tensors.origin(*sources)
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
            name.removeprefix("layers.{layer}."): self._source(name, layer)
            for name in self._names
            if name.startswith("layers.")
        }
        self._read_qkv(layer, sources)
        self._read_attention_output(f"{prefix}.attention.output", sources["attention.output"])
        self.read_norm(f"{prefix}.attention.norm", sources["attention.norm"], hidden)
        if self._family.gated:
            self._read_gated(f"{prefix}.ffn.up", sources)
        else:
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
        return self._tensors.rows(f"{linear.source}.weight")

    def _read_head_linear(self, linear: HeadSource, outputs: int, width: int) -> None:
        weight, bias = f"{linear.source}.weight", f"{linear.source}.bias"
        if linear.tied and weight not in self._tensors:
            weight = f"{self._names['embeddings.word']}.weight"
        if bias not in self._tensors and linear.bias is not None:
            bias = linear.bias
        elif linear.bias is not None and linear.bias in self._tensors:
            self._tensors.read(linear.bias, (outputs,))  # the same numbers under a second name
        read_linear(self._network, self._tensors, linear.name, weight, self._present(bias), outputs, width)
        if linear.tied:
            self._tie(linear.name)

    def _tie(self, name: str) -> None:
        """Makes the words' table an alias of a linear, if they are the same numbers."""
        words = "embeddings.word"
        linear, table = self._network.linears[name], self._network.tables[words]
        assert isinstance(linear, LinearWeights)
        assert isinstance(table, np.ndarray)
        if np.array_equal(linear.weight, table):
            self._network.aliases[words] = name
            del self._network.tables[words], self._network.origins[words]

    def _read_qkv(self, layer: int, sources: dict[str, str]) -> None:
        """Q, K and V as one matrix, heads padded; features that rotary positions turn together become neighbours."""
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        groups = self._sizes.key_heads or heads
        heights = [heads * head_size, groups * head_size, groups * head_size]
        if "attention.qkv" in sources:
            names, heights = [sources["attention.qkv"]], [sum(heights)]
        else:
            names = [sources[f"attention.{part}"] for part in ("query", "key", "value")]
        # Queries share keys and values in groups of neighbours; here each has its own.
        shared = np.arange(heads) // (heads // groups)
        order = np.concatenate([np.arange(heads), heads + shared, heads + groups + shared])
        if self._family.qkv_by_head:
            order = np.arange(3 * heads).reshape(heads, 3).T.reshape(-1)
        if self._family.biases_by_head:
            weights = self._tensors.read(f"{names[0]}.weight", (3 * hidden, hidden))
            stored = [self._tensors.read(name.format(layer=layer), (hidden,)) for name in self._family.biases_by_head]
            offsets = np.stack([stored[0], np.zeros(hidden, np.float32), stored[1]])
        else:
            weights, biases = self._read_rows(names, heights)
            offsets = biases.reshape(-1, head_size)[order]
        rows = weights.reshape(-1, head_size, hidden)[order].reshape(3, heads, head_size, hidden)
        offsets = offsets.reshape(3, heads, head_size)
        if self._query_factors[layer] != 1:
            rows[0] *= np.float32(self._query_factors[layer])
            offsets[0] *= np.float32(self._query_factors[layer])
        architecture = self._network.architecture
        if architecture.rotation(architecture.layers[layer]) and not self._family.interleaved:
            order = np.arange(head_size).reshape(2, -1).T.reshape(-1)
            rows[:2], offsets[:2] = rows[:2][:, :, order], offsets[:2][:, :, order]
        d = padded(head_size)
        weight = _pad(rows, (3, heads, d, padded(hidden))).reshape(3 * heads * d, padded(hidden))
        self._add_linear(f"layers.{layer}.attention.qkv", weight, _pad(offsets, (3, heads, d)).reshape(-1), names)

    def _read_gated(self, name: str, sources: dict[str, str]) -> None:
        """Both halves of a gated feed-forward, the activated one first, each padded."""
        hidden, ffn = self._sizes.hidden_size, self._sizes.ffn_size
        names = [sources[part] for part in ("ffn.gate", "ffn.up", "ffn.up_gate") if part in sources]
        weights, biases = self._read_rows(names, [2 * ffn // len(names)] * len(names))
        halves = slice(None, None, -1 if "ffn.up_gate" in sources else 1)
        weight = _pad(weights.reshape(2, ffn, hidden)[halves], (2, padded(ffn), padded(hidden)))
        bias = _pad(biases.reshape(2, ffn)[halves], (2, padded(ffn)))
        self._add_linear(name, weight.reshape(-1, padded(hidden)), bias.reshape(-1), names)

    def _read_rows(self, names: list[str], heights: list[int]) -> tuple[Float32Array, Float32Array]:
        """Matrices on the hidden state, of so many rows each, that are to lie one above another, and their biases."""
        hidden, parts = self._sizes.hidden_size, list(zip(names, heights, strict=True))
        weights = [self._tensors.read(f"{name}.weight", (height, hidden)) for name, height in parts]
        return np.concatenate(weights), np.concatenate(
            [self._read_bias(f"{name}.bias", height) for name, height in parts]
        )

    def read_position_bias(self) -> None:
        """What the layers add to attention scores by distance: one table for all of them."""
        if self._family.position_bias is None:
            return
        source, expand = self._family.position_bias
        name, most = "layers.0.attention.position_bias", self._sizes.max_positions
        sources = [] if source is None else [f"{source}.weight"]
        table = np.zeros((0, self._sizes.num_heads), np.float32)
        for stored in sources:
            table = self._tensors.read(stored, (self._tensors.rows(stored), self._sizes.num_heads))
        columns = distances(most)
        first = columns // 2 - LANES // 2 - (most - 1)
        biases = np.zeros((self._sizes.num_heads, columns), np.float32)
        biases[:, first : first + 2 * most - 1] = expand(table, most) * np.float32(LOG2_E)
        self._network.attention_tables[name] = biases
        self._network.origins[name] = self._tensors.origin(*sources)
        for layer in range(1, self._sizes.num_layers):
            self._network.aliases[f"layers.{layer}.attention.position_bias"] = name

    def read_relative_positions(self, relative: RelativePositions) -> None:
        """Each layer's keys and queries of distances: embeddings of these, and what the layer makes of them."""
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        table = self._tensors.read(f"{relative.table}.weight", (relative.rows, hidden)).astype(np.float64)
        common = [f"{relative.table}.weight"]
        if relative.norm:
            common += [f"{relative.norm}.weight", f"{relative.norm}.bias"]
            weight, bias = (self._tensors.read(name, (hidden,)) for name in common[1:])
            eps = self._network.architecture.layer_norm_eps
            centred = table - table.mean(axis=1, keepdims=True)
            table = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps) * weight + bias
        tables = self._network.attention_tables
        tables[DISTANCE_ROWS] = relative.row_of
        self._network.origins[DISTANCE_ROWS] = self._tensors.origin(*common)
        for layer in range(self._sizes.num_layers):
            for name, source in zip(POSITION_TABLES, (relative.key, relative.query), strict=True):
                source = source.format(layer=layer)
                rows = table @ self._tensors.read(f"{source}.weight", (hidden, hidden)).T.astype(np.float64)
                if f"{source}.bias" in self._tensors:
                    rows = rows + self._tensors.read(f"{source}.bias", (hidden,))
                shape = (relative.rows, heads, padded(head_size))
                rows = _pad(rows.reshape(relative.rows, heads, head_size).astype(np.float32), shape)
                tables[f"layers.{layer}.attention.{name}"] = rows

    def _read_attention_output(self, name: str, source: str) -> None:
        hidden, heads, head_size = self._sizes.hidden_size, self._sizes.num_heads, self._sizes.head_size
        columns = self._tensors.read(f"{source}.weight", (hidden, heads * head_size))
        columns = columns.reshape(hidden, heads, head_size)
        weight = _pad(columns, (hidden, heads, padded(head_size))).reshape(hidden, -1)
        self._add_linear(name, weight, self._read_bias(f"{source}.bias", hidden), [source])

    def _add_linear(self, name: str, weight: Float32Array, bias: Float32Array, sources: list[str]) -> None:
        self._network.linears[name] = LinearWeights(weight, bias)
        stored = [source + ending for source in sources for ending in (".weight", ".bias")]
        self._network.origins[name] = self._tensors.origin(*self._stored(*stored))

    def read_norm(self, name: str, source: str, size: int) -> None:
        """A LayerNorm of `size` columns; no bias is one of zeros."""
        bias = self._present(f"{source}.bias")
        read_norm(self._network, self._tensors, name, f"{source}.weight", bias, size)

    def read_linear(self, name: str, source: str, out_features: int, in_features: int) -> None:
        """A matrix, inputs padded with zeros."""
        bias = self._present(f"{source}.bias")
        read_linear(self._network, self._tensors, name, f"{source}.weight", bias, out_features, in_features)

    def _present(self, bias: str) -> str | None:
        """The name of a bias; None where the family may leave it out and the checkpoint does."""
        return None if self._family.optional_biases and bias not in self._tensors else bias

    def _read_bias(self, name: str, size: int) -> Float32Array:
        return _read_bias(self._tensors, self._present(name), size)

    def _stored(self, *names: str) -> list[str]:
        return [name for name in names if name in self._tensors]


def read_linear(
    network: Network,
    tensors: NamedTensors,
    name: str,
    weight: str,
    bias: str | None,
    out_features: int,
    in_features: int,
) -> None:
    """Reads a matrix and its bias into `network`, inputs padded with zeros; no bias is one of zeros.

    Raises:
        CheckpointError: a tensor is missing, of another shape, or holds values that are not finite.
    """
    values = _pad(tensors.read(weight, (out_features, in_features)), (out_features, padded(in_features)))
    network.linears[name] = LinearWeights(values, _read_bias(tensors, bias, out_features))
    network.origins[name] = tensors.origin(*([weight] if bias is None else [weight, bias]))


def read_norm(network: Network, tensors: NamedTensors, name: str, weight: str, bias: str | None, size: int) -> None:
    """Reads a LayerNorm of `size` columns into `network`; no bias is one of zeros. Raises as `read_linear`."""
    values = tensors.read(weight, (size,)), _read_bias(tensors, bias, size)
    network.norms[name] = Norm(*(_pad(each, (padded(size),)) for each in values))
    network.origins[name] = tensors.origin(*([weight] if bias is None else [weight, bias]))


def add_residual(network: Network, tensors: NamedTensors, name: str, width: int) -> None:
    """Adds what came in to what a matrix without an activation makes of it: W x + R x is (W + R) x.

    R is `residual.weight`, or leaves x as it is where the width stays.
    """
    linear = network.linears[name]
    assert isinstance(linear, LinearWeights)
    outputs = len(linear.weight)
    if outputs == width:
        linear.weight[:, :width] += np.eye(width, dtype=np.float32)
    else:
        linear.weight[:, :width] += tensors.read("residual.weight", (outputs, width))


def _read_bias(tensors: NamedTensors, name: str | None, size: int) -> Float32Array:
    return np.zeros(size, np.float32) if name is None else tensors.read(name, (size,))


def _is_table(name: str) -> bool:
    return name in ("embeddings.word", "embeddings.position", "embeddings.token_type", "embeddings.task_type")


def _pad(values: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """`values` with zeros after them along each axis, up to `shape`."""
    if values.shape == shape:
        return values
    return np.pad(values, [(0, target - size) for size, target in zip(values.shape, shape, strict=True)])
