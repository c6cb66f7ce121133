"""The matrices of a network's encoder, and which of their rows and columns are more than padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import InputError
from minibert.format.constants import padded
from minibert.format.schema import Architecture
from minibert_converter.network import (
    AnyLinear,
    Float32Array,
    LinearWeights,
    Network,
    Norm,
    QuantizedLinear,
    TiedLinear,
)

#: What a layer is made of, in the order of a forward pass; its four matrices, and its two LayerNorms.
LAYER_PARTS = ("attention.qkv", "attention.output", "attention.norm", "ffn.up", "ffn.down", "ffn.norm")
PARTS = tuple(part for part in LAYER_PARTS if not part.endswith(".norm"))
NORMS = tuple(part for part in LAYER_PARTS if part.endswith(".norm"))


def widened(rows: np.ndarray, width: int) -> np.ndarray:
    """Rows with columns of zeros up to `width`."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def encoder_names(network: Network) -> list[str]:
    """Names of the encoder's matrices, each shared one once; embeddings and heads of the task are never pruned."""
    layers = range(len(network.architecture.layers))
    names = [f"layers.{number}.{part}" for number in layers for part in PARTS]
    return [name for name in names if name not in network.aliases]


def float_linear(network: Network, name: str) -> LinearWeights:
    """The matrix of that name, or the one it shares.

    Raises:
        InputError: it is quantized already, or was made to share another one's weights.
    """
    linear = network.linears[network.aliases.get(name, name)]
    if isinstance(linear, TiedLinear):
        raise InputError(f"{name} shares the weights of {linear.target}: prune and distil before layers share")
    if not isinstance(linear, LinearWeights):
        raise InputError(f"{name} is quantized already: prune before quantizing")
    return linear


def norm_of(network: Network, name: str) -> Norm:
    """The LayerNorm of that name, or the one it shares."""
    return network.norms[network.aliases.get(name, name)]


def is_plain(architecture: Architecture) -> bool:
    """Whether the encoder is BERT's: what the passes that take something out have learned to do without."""
    beyond = architecture.pre_norm or architecture.gated or architecture.norm != "layer" or architecture.layer_weights
    return not (beyond or architecture.goes_by_places)


def has_plain_head(architecture: Architecture) -> bool:
    """Whether pooling, of one kind if any, comes before the head, and that is linears: what has derivatives here."""
    chain = any(layer.kind != "linear" or layer.residual for layer in architecture.head)
    return not chain and not architecture.pool_after and len(architecture.poolings) <= 1


def real_rows_and_columns(architecture: Architecture, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which outputs and which inputs of an encoder matrix are no padding: bool [out], bool [in]."""
    _, number, part = name.split(".", 2)
    layer = architecture.layers[int(number)]
    hidden = np.arange(padded(architecture.hidden_size)) < architecture.hidden_size
    heads = np.tile(np.arange(padded(architecture.head_size)) < architecture.head_size, layer.num_heads)
    inner = np.arange(padded(layer.ffn_size)) < layer.ffn_size
    return {
        "attention.qkv": (np.tile(heads, 3), hidden),
        "attention.output": (hidden[hidden], heads),
        "ffn.up": (np.tile(inner, 2) if architecture.gated else inner[inner], hidden),
        "ffn.down": (hidden[hidden], inner),
    }[part]


def in_float32(network: Network) -> Network:
    """The network with every matrix and table as the float32 numbers that it stands for."""
    linears: dict[str, AnyLinear] = dict(network.linears)
    for name, linear in network.linears.items():
        if isinstance(linear, QuantizedLinear):
            linears[name] = LinearWeights(linear.dequantized() * _factor(network, name), linear.bias)
    tables = {
        name: table if isinstance(table, np.ndarray) else table.dequantized() for name, table in network.tables.items()
    }
    return replace(network, linears=linears, tables=tables)


def _factor(network: Network, name: str) -> Float32Array | float:
    """What else the inputs of a matrix are multiplied by: half of a low-rank part reads the codes of its matrix."""
    matrix = network.linears[name.removesuffix(".low_rank.down")]
    owner = network.linears[matrix.target] if isinstance(matrix, TiedLinear) else matrix
    if name.endswith(".low_rank.down") and isinstance(owner, QuantizedLinear) and owner.input_factor is not None:
        return owner.input_factor
    return 1.0
