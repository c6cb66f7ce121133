"""Taking heads, FFN neurons and layers out of a network: its dense matrices become smaller.

A layer's neurons fill whole panels of 16 in memory, so a layer with 1,000 of them runs no faster than one with 1,008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minibert.format.constants import padded
from minibert.format.schema import Layer
from minibert_converter.matrices import NORMS, PARTS, float_linear
from minibert_converter.network import LinearWeights, Network


def head_columns(network: Network, heads: np.ndarray) -> np.ndarray:
    """Columns of the attention context that belong to some heads, padding included: int [heads * width]."""
    width = padded(network.architecture.head_size)
    return (np.asarray(heads)[:, None] * width + np.arange(width)).ravel()


def keep_heads(network: Network, number: int, kept: np.ndarray) -> None:
    """Leaves a layer the attention heads `kept`, int [at least 1] in rising order."""
    layer = network.architecture.layers[number]
    qkv_name, output_name = f"layers.{number}.attention.qkv", f"layers.{number}.attention.output"
    qkv, output = float_linear(network, qkv_name), float_linear(network, output_name)
    columns = head_columns(network, kept)
    rows = (np.arange(3)[:, None] * output.weight.shape[1] + columns).ravel()
    network.linears[qkv_name] = LinearWeights(qkv.weight[rows], qkv.bias[rows])
    network.linears[output_name] = replace(output, weight=np.ascontiguousarray(output.weight[:, columns]))
    _set_layer(network, number, replace(layer, num_heads=len(kept)))


def keep_neurons(network: Network, number: int, kept: np.ndarray) -> None:
    """Leaves a layer's feed-forward network the neurons `kept`, int [at least 1] in rising order."""
    layer = network.architecture.layers[number]
    up_name, down_name = f"layers.{number}.ffn.up", f"layers.{number}.ffn.down"
    up, down = float_linear(network, up_name), float_linear(network, down_name)
    network.linears[up_name] = LinearWeights(up.weight[kept], up.bias[kept])
    weight = np.zeros((len(down.weight), padded(len(kept))), np.float32)
    weight[:, : len(kept)] = down.weight[:, kept]
    network.linears[down_name] = replace(down, weight=weight)
    _set_layer(network, number, replace(layer, ffn_size=len(kept)))


def keep_layers(network: Network, kept: Sequence[int]) -> None:
    """Leaves the network the layers `kept`, at least one, and numbers them anew from 0."""
    aliases = {name: target for name, target in network.aliases.items() if not name.startswith("layers.")}
    for entries, parts in ((network.linears, PARTS), (network.norms, NORMS)):
        rest = {name: entry for name, entry in entries.items() if not name.startswith("layers.")}
        owners: dict[str, str] = {}
        moved = {}
        for new, old in enumerate(kept):
            for part in parts:
                name = f"layers.{new}.{part}"
                source = network.aliases.get(f"layers.{old}.{part}", f"layers.{old}.{part}")
                if source in owners:
                    aliases[name] = owners[source]
                else:
                    owners[source], moved[name] = name, entries[source]
        entries.clear()
        entries.update(moved | rest)  # type: ignore[arg-type]
    network.aliases = aliases
    layers = network.architecture.layers
    numbers = tuple(network.checkpoint_layers[number] for number in kept)
    network.architecture = replace(network.architecture, layers=tuple(layers[number] for number in kept))
    network.layer_numbers = numbers


def _set_layer(network: Network, number: int, layer: Layer) -> None:
    layers = list(network.architecture.layers)
    layers[number] = layer
    network.architecture = replace(network.architecture, layers=tuple(layers))
