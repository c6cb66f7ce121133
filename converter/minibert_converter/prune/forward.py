"""The encoder one layer at a time, in float32: what layer-wise methods need, and a whole forward pass does not give."""

from __future__ import annotations

import numpy as np

from minibert.format.schema import padded
from minibert.reference.attention import attend
from minibert.reference.functions import activate, layer_norm

from ..export import export
from ..network import Float32Array, Network
from .encoder import float_linear, norm_of
from .moments import Tokens


class Rows:
    """Rows of the tokens of many texts as they pass through a network, layer by layer.

    Attributes:
        hidden: float32 [tokens, padded(hidden_size)], what the layers so far returned.
    """

    def __init__(self, network: Network, tokens: Tokens) -> None:
        from minibert.reference import Reference

        self._starts = np.cumsum([0, *map(len, tokens.ids)])
        self.hidden = np.zeros((0, 0), np.float32)
        seen: list[Float32Array] = []

        def hook(name: str, x: Float32Array) -> None:
            if name == "layers.0.attention.qkv":
                seen.append(x)
                raise _FirstLayerError

        reference = Reference(*export(network), every_token=True)
        for first in range(0, len(tokens.ids), 64):
            part = slice(first, first + 64)
            try:
                reference.forward(tokens.ids[part], tokens.types[part], hook)
            except _FirstLayerError:
                continue
        self.hidden = np.concatenate(seen)

    def context(self, network: Network, number: int) -> Float32Array:
        """float32 [tokens, heads * width], what the heads of a layer return, concatenated."""
        qkv = float_linear(network, f"layers.{number}.attention.qkv")
        rows = self.hidden @ qkv.weight.T + qkv.bias
        architecture = network.architecture
        heads, width = architecture.layers[number].num_heads, padded(architecture.head_size)
        out = np.empty((len(rows), heads * width), np.float32)
        for first, end in zip(self._starts[:-1], self._starts[1:], strict=True):
            query, key, value = np.split(rows[first:end], 3, axis=1)
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                out[first:end, part] = attend(
                    query[:, part], key[:, part], value[:, part], architecture.head_size, exact=True
                )
        return out

    def inner(self, network: Network, number: int) -> Float32Array:
        """float32 [tokens, padded(ffn_size)], what a layer's neurons return."""
        up = float_linear(network, f"layers.{number}.ffn.up")
        rows = activate(self.hidden @ up.weight.T + up.bias, network.architecture.activation)
        return np.pad(rows, ((0, 0), (0, padded(rows.shape[1]) - rows.shape[1])))

    def add(self, network: Network, number: int, half: str, x: Float32Array) -> None:
        """Ends a half of a layer: hidden = LayerNorm(W x + b + hidden).

        Args:
            network: whose weights.
            number: of the layer.
            half: "attention" or "ffn".
            x: float32 [tokens, in], from `context` or `inner`.
        """
        rows = self.hidden + self.sum(network, number, half, x)
        norm = norm_of(network, f"layers.{number}.{half}.norm")
        architecture = network.architecture
        self.hidden = layer_norm(rows, norm.weight, norm.bias, architecture.hidden_size, architecture.layer_norm_eps)

    def sum(self, network: Network, number: int, half: str, x: Float32Array) -> Float32Array:
        """W x + b of the matrix that ends a half, float32 [tokens, padded(hidden_size)]."""
        linear = float_linear(network, f"layers.{number}.{half}.{'output' if half == 'attention' else 'down'}")
        rows = x @ linear.weight.T + linear.bias
        return np.pad(rows, ((0, 0), (0, self.hidden.shape[1] - rows.shape[1])))


class _FirstLayerError(Exception):
    """Ends a forward pass as soon as the first layer's input is known."""
