"""A Network as a small torch module, and back: what a teacher runs as, and what a student is trained as.

It runs on packed texts, as the engine does: one row a token, no padding, except inside attention. Matrices are without
the file's padding of columns (the padding of heads stays, and stays zero: its gradients are).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from minibert.errors import UnsupportedError
from minibert.format.constants import LABELED_TASKS, padded
from minibert.format.schema import Architecture
from minibert_converter.distill.batches import Batch
from minibert_converter.distill.fake_quantization import attention_int8, gelu_codes, linear_int8, rounded_table
from minibert_converter.matrices import float_linear, has_plain_head, is_plain, widened
from minibert_converter.network import Float32Array, LinearWeights, Network, Norm

_ACTIVATIONS = {
    "none": lambda x: x,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


@dataclass
class Trace:
    """What a forward pass leaves behind.

    Attributes:
        output: float32 [texts or tokens, out], what the engine would return.
        hidden: by number, float32 [tokens, hidden_size]: 0 is what the embeddings return, n what layer n - 1 does.
        heads: by layer, float32 [3, tokens, heads * head_size]: queries, keys and values; only of layers asked for.
    """

    output: Tensor
    hidden: dict[int, Tensor]
    heads: dict[int, Tensor] = field(default_factory=dict)


class TorchNetwork(nn.Module):
    """A float32 Network that can be trained.

    Args:
        network: its arrays are copied.

    Attributes:
        masks: by name of a matrix, float32 [out, in] of 0 and 1 that multiplies its weights; those missing are whole.
        int8: whether matrices and tables are multiplied in the engine's int8 arithmetic.
        dense_gradients: whether weights that a mask hides get the gradient that they would have had.
        dtype: what matrices are multiplied in, float32 or bfloat16.

    Raises:
        UnsupportedError: the network has parts that this module does not: norms ahead, gates, rotary positions, ...
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        architecture = network.architecture
        if not is_plain(architecture):
            raise UnsupportedError(f"models of the family {architecture.model_type} cannot be distilled yet")
        if not has_plain_head(architecture):
            raise UnsupportedError("models whose head is more than one pooling and linears cannot be distilled yet")
        if network.task.kind not in (*LABELED_TASKS, "sentence-embedding"):
            raise UnsupportedError(f"models for {network.task.kind} cannot be distilled yet")
        self.architecture = architecture
        self.aliases = dict(network.aliases)
        self.masks: dict[str, Tensor] = {}
        self.int8 = self.dense_gradients = False
        self.dtype = torch.float32
        self.vectors = nn.ParameterDict()
        for name, table in network.tables.items():
            if not isinstance(table, np.ndarray):
                raise UnsupportedError(f"{name} is stored in few bits already: put that pass behind the pass distill")
            self._add(name, table[:, : _table_width(architecture, name)])
        for name in network.linears:
            linear = float_linear(network, name)
            self._add(f"{name}.weight", linear.weight[:, self._columns(name)])
            self._add(f"{name}.bias", linear.bias)
        for name, norm in network.norms.items():
            size = self._norm_size(name, network)
            self._add(f"{name}.weight", norm.weight[:size])
            self._add(f"{name}.bias", norm.bias[:size])

    def _add(self, name: str, values: Float32Array) -> None:
        self.vectors[_key(name)] = nn.Parameter(torch.tensor(values, dtype=torch.float32))

    def _columns(self, name: str) -> slice:
        """Inputs of a matrix that are no padding."""
        architecture = self.architecture
        if name == "embeddings.projection":
            return slice(architecture.table_size)
        if name == "embeddings.word_projection":
            return slice(architecture.word_size)
        parts = name.split(".")
        if parts[0] == "head":
            place = [layer.name for layer in architecture.head].index(name)
            return slice(self.head_widths[place]) if place else slice(architecture.hidden_size)
        if parts[2:] == ["ffn", "down"]:
            return slice(architecture.layers[int(parts[1])].ffn_size)
        return slice(None) if parts[2:] == ["attention", "output"] else slice(architecture.hidden_size)

    @property
    def head_widths(self) -> list[int]:
        """Inputs of each matrix of the task's head."""
        widths = [self.architecture.hidden_size]
        for layer in self.architecture.head[:-1]:
            widths.append(len(self.vectors[_key(f"{layer.name}.bias")]))
        return widths

    def _norm_size(self, name: str, network: Network) -> int:
        if name == "embeddings.norm":
            return self.architecture.table_size
        if name.startswith("head."):
            return float_linear(network, name.removesuffix(".norm")).weight.shape[0]
        return self.architecture.hidden_size

    def parameter(self, name: str) -> Tensor:
        """A tensor by its name, or by that of one which is the same: "layers.0.ffn.up.weight", "embeddings.word"."""
        stem, _, part = name.rpartition(".")
        if stem in self.aliases:
            name = f"{self.aliases[stem]}.{part}"
        return self.vectors[_key(name)]

    def weight(self, name: str) -> Tensor:
        """A matrix's weights [out, in] with what was pruned set to zero."""
        name = self.aliases.get(name, name)
        weight = self.parameter(f"{name}.weight")
        if name not in self.masks:
            return weight
        if self.dense_gradients:
            return weight + (weight * (self.masks[name] - 1)).detach()
        return weight * self.masks[name]

    def linear(self, x: Tensor, name: str) -> Tensor:
        """One matrix product with bias: float32 [rows, out]."""
        weight, bias = self.weight(name), self.parameter(f"{name}.bias")
        if self.int8:
            return linear_int8(x, weight, bias, self.dtype)
        if self.dtype == torch.float32:
            return functional.linear(x, weight, bias)
        return functional.linear(x.to(self.dtype), weight.to(self.dtype)).float() + bias

    def norm(self, x: Tensor, name: str) -> Tensor:
        """LayerNorm over the last dimension."""
        weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.architecture.layer_norm_eps)

    def _rows(self, name: str, places: Tensor) -> Tensor:
        rows = functional.embedding(places, self.parameter(name))
        return rounded_table(rows) if self.int8 and len(self.parameter(name)) > 16 else rows

    def forward(self, batch: Batch, traced: tuple[int, ...] = ()) -> Trace:
        """Runs packed texts.

        Args:
            batch: the texts.
            traced: layers whose queries, keys and values are wanted.
        """
        architecture = self.architecture
        x = self._rows("embeddings.word", batch.ids)
        if architecture.word_size:
            x = self.linear(x, "embeddings.word_projection")
        if architecture.position_table:
            x = x + self._rows("embeddings.position", batch.positions)
        if architecture.token_types:
            x = x + self._rows("embeddings.token_type", batch.types)
        x = self.norm(x, "embeddings.norm")
        if architecture.embedding_size:
            x = self.linear(x, "embeddings.projection")
        trace = Trace(x, {0: x})
        for number in range(len(architecture.layers)):
            name = f"layers.{number}"
            qkv = self.linear(x, f"{name}.attention.qkv")
            if number in traced:
                trace.heads[number] = torch.stack(qkv.chunk(3, dim=1))
            context = self._attend(qkv, batch, architecture.layers[number].num_heads)
            x = self.norm(self.linear(context, f"{name}.attention.output") + x, f"{name}.attention.norm")
            activate = _ACTIVATIONS[architecture.activation]
            if self.int8 and architecture.activation == "gelu":
                activate = gelu_codes
            inner = activate(self.linear(x, f"{name}.ffn.up"))
            x = self.norm(self.linear(inner, f"{name}.ffn.down") + x, f"{name}.ffn.norm")
            trace.hidden[number + 1] = x
        trace.output = self._head(x, batch)
        return trace

    def _attend(self, qkv: Tensor, batch: Batch, heads: int) -> Tensor:
        query, key, value = (batch.spread(part).unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, 1))
        size = self.architecture.head_size
        if self.int8:
            context = attention_int8(query, key, value, batch.mask, size)
        else:
            scale = 1 / math.sqrt(size)
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=batch.mask, scale=scale)
        return batch.gather(context.transpose(1, 2).flatten(2))

    def _head(self, x: Tensor, batch: Batch) -> Tensor:
        for pooling in self.architecture.poolings:  # one, or none
            x = batch.pool(x, pooling)
        for layer in self.architecture.head:
            x = _ACTIVATIONS[layer.activation](self.linear(x, layer.name))
            if layer.norm:
                x = self.norm(x, f"{layer.name}.norm")
        return functional.normalize(x, dim=-1) if self.architecture.normalize else x

    @torch.no_grad()
    def write_to(self, network: Network) -> Network:
        """A copy of the network, which this module was made of, with the tensors as they are now, masks applied."""
        values: Mapping[str, Float32Array] = {
            _name(key): value.detach().cpu().numpy().copy() for key, value in self.vectors.items()
        }
        tables, linears, norms = {}, {}, {}
        for name, table in network.tables.items():
            assert isinstance(table, np.ndarray)
            tables[name] = _pad(values[name], table.shape[1])
        for name in network.linears:
            weight = self.weight(name).detach().cpu().numpy()
            width = float_linear(network, name).weight.shape[1]
            linears[name] = LinearWeights(_pad(weight, width), values[f"{name}.bias"])
        for name, norm in network.norms.items():
            parts = (_pad(values[f"{name}.{part}"][None], norm.weight.size)[0] for part in ("weight", "bias"))
            norms[name] = Norm(*parts)
        return replace(network, tables=tables, linears=linears, norms=norms)


def _table_width(architecture: Architecture, name: str) -> int:
    """Columns of an embedding table that are no padding."""
    return (name == "embeddings.word" and architecture.word_size) or architecture.table_size


def _pad(values: Float32Array, width: int) -> Float32Array:
    assert padded(values.shape[1]) == width
    return np.ascontiguousarray(widened(values, width))


def _key(name: str) -> str:
    """A name as torch allows it for a parameter."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
