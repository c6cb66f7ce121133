"""Moving the mean of activations into biases, where it costs nothing, so that codes need not span it.

A channel that is always near 40 makes int8 codes of its row coarse, although it says nothing. Subtracting a constant z
from a matrix's input and adding W z to its bias changes no output (Outlier Suppression+, arXiv 2304.09145). In a
post-LayerNorm transformer the subtraction itself is free as well:

- what LayerNorm returns enters one matrix and the residual sum behind it: z leaves the norm's bias, and enters the
  bias of the matrix that writes into that sum (where norms stand ahead of what they are for, the sum goes by them);
- the attention context is an average of value rows with weights that sum to one: z leaves the bias of the values.

The last norm stays as it is, since pooling and heads read it, and so does what an activation function returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minibert.format.constants import low_rank
from minibert_converter.network import AnyLinear, Float32Array, LinearWeights, Network, TiedLinear


def centre(network: Network, means: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Subtracts a constant from the input of every matrix where that is free; the network's outputs stay the same.

    Args:
        network: its `norms` and float32 `linears` are replaced by shifted copies.
        means: by matrix name, float32 [in], zero in the padding: the constant to subtract.

    Returns:
        By matrix name, what was subtracted; matrices that are missing kept their input.
    """
    moved: dict[str, Float32Array] = {}
    architecture = network.architecture
    # A norm whose output others read as well stays as it is: where layers share weights, also the last layer does; and
    # where all layers are mixed, pooling does.
    norm = "embeddings.norm" if not (architecture.embedding_size or architecture.layer_weights) else None
    for number in range(len(architecture.layers)):
        attention, ffn = f"layers.{number}.attention", f"layers.{number}.ffn"
        if f"{attention}.qkv" in network.aliases:
            continue
        residual = not architecture.pre_norm  # whether the residual sum goes on with what a norm returns
        if norm is not None and not network.aliases.get("layers.1.attention.qkv"):
            summed = residual or (norm == "embeddings.norm" and not architecture.sum_of_embeddings)
            writer = f"{attention}.output" if summed else None
            moved |= _centre_norm(network, norm, f"{attention}.qkv", writer, means)
        moved |= _centre_context(network, f"{attention}.qkv", f"{attention}.output", means)
        moved |= _centre_norm(network, f"{attention}.norm", f"{ffn}.up", f"{ffn}.down" if residual else None, means)
        norm = f"{ffn}.norm" if not architecture.layer_weights else None
    return moved


def can_be_centred(network: Network) -> set[str]:
    """The matrices whose input `centre` would subtract from."""
    widths = {name: _owner(network, name) for name in network.linears}
    nothing = {
        name: np.zeros(owner.weight.shape[1], np.float32)
        for name, owner in widths.items()
        if isinstance(owner, LinearWeights)
    }
    scratch = replace(network, linears=dict(network.linears), norms=dict(network.norms))
    return set(centre(scratch, nothing))


def _centre_norm(
    network: Network, norm: str, reader: str, writer: str | None, means: Mapping[str, Float32Array]
) -> dict[str, Float32Array]:
    """Shifts what `norm` returns, which `reader` multiplies and the residual adds to what `writer`, if any, returns."""
    if not _float(network, reader) or (writer is not None and not _float(network, writer)):
        return {}
    shift = means[reader]
    network.norms[norm] = replace(network.norms[norm], bias=network.norms[norm].bias - shift)
    _absorb(network, reader, shift)
    if writer is not None:
        _add_bias(network, writer, shift)
    return {reader: shift}


def _centre_context(
    network: Network, values: str, output: str, means: Mapping[str, Float32Array]
) -> dict[str, Float32Array]:
    """Shifts the values, the last third of what `values` returns, and so the context that `output` multiplies."""
    if not _float(network, values, output):
        return {}
    shift = means[output]
    _absorb(network, output, shift)
    _add_bias(network, values, -shift, start=2 * shift.size)
    return {output: shift}


def _float(network: Network, *names: str) -> bool:
    return all(isinstance(_owner(network, name), LinearWeights) for name in names)


def _owner(network: Network, name: str) -> AnyLinear | None:
    """The matrix that holds the weights of the one called so."""
    linear = network.linears.get(name)
    return network.linears[linear.target] if isinstance(linear, TiedLinear) else linear


def _absorb(network: Network, name: str, shift: Float32Array) -> None:
    """The bias of a matrix whose input is now smaller by `shift`."""
    linear, owner = network.linears[name], _owner(network, name)
    assert isinstance(owner, LinearWeights)
    network.linears[name] = replace(linear, bias=linear.bias + owner.weight @ shift)
    if (down := low_rank(name)[0]) in network.linears:
        _absorb(network, down, shift)


def _add_bias(network: Network, name: str, shift: Float32Array, start: int = 0) -> None:
    """Adds `shift` to a matrix's outputs from `start` on."""
    linear = network.linears[name]
    bias = linear.bias.copy()
    bias[start:] += shift[: bias.size - start]
    network.linears[name] = replace(linear, bias=bias)
