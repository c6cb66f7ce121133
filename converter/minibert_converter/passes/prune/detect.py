"""Checkpoints that were pruned before they came here: what pattern their zeros have, and what can simply be left out.

oBERT (arXiv 2203.07259) leaves unstructured zeros or blocks of 1x4, Prune Once for All (arXiv 2111.05754) unstructured
zeros or 1x4, block movement pruning (nn_pruning, arXiv 2109.04838) zeros in 32x32 blocks of attention, in whole
heads, and in rows and columns of the feed-forward networks. Weights that are zero stay zero through every later pass.
Heads and neurons that cannot change any answer are taken out: the network is smaller and returns the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minibert.format.constants import padded
from minibert.reference.functions import activate
from minibert_converter.matrices import encoder_names, float_linear, is_plain, real_rows_and_columns
from minibert_converter.network import LinearWeights, Network
from minibert_converter.passes.prune.blocks import block_density, cut
from minibert_converter.passes.prune.shrink import head_columns, keep_heads, keep_neurons

#: Fewer zeros than this are no pattern: rounding to half precision makes some by itself.
LEAST_SPARSITY = 0.05
#: A pattern explains a matrix if this part of its zeros lies in blocks of zeros.
EXPLAINED = 0.99
#: Blocks that are looked for, largest first (outputs x inputs).
PATTERNS = ((32, 32), (16, 16), (8, 8), (4, 4), (16, 1), (8, 1), (4, 1), (1, 4), (1, 8), (1, 16), (1, 1))


@dataclass(frozen=True)
class Found:
    """What the zeros of one matrix look like, padding not counted.

    Attributes:
        sparsity: part of the weights that are zero.
        pattern: outputs x inputs of the largest block that explains them ("32x32", "unstructured"); "dense" if there
            are hardly any.
        block_density: part of the 4x4 blocks with a weight other than zero: what the engine multiplies.
        zero_rows: outputs without any weight.
        zero_columns: inputs without any weight.
    """

    sparsity: float
    pattern: str
    block_density: float
    zero_rows: int
    zero_columns: int


def find_zeros(network: Network) -> dict[str, Found]:
    """The pattern of each matrix of the encoder."""
    return {
        name: _describe(float_linear(network, name).weight, *real_rows_and_columns(network.architecture, name))
        for name in encoder_names(network)
    }


def _describe(weight: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Found:
    real = rows[:, None] & columns
    # Padding belongs to any pattern: it is neither a weight nor a zero that a pattern has to explain.
    zero = weight == 0
    count = int((zero & real).sum())
    sparsity = count / real.sum()
    used = ~zero & real
    pattern = "dense"
    if sparsity >= LEAST_SPARSITY:
        pattern = next(_name(*sides) for sides in PATTERNS if _explained(zero, real, *sides) >= EXPLAINED * count)
    return Found(
        float(sparsity),
        pattern,
        block_density(weight, real),
        int((rows & ~used.any(axis=1)).sum()),
        int((columns & ~used.any(axis=0)).sum()),
    )


def _explained(zero: np.ndarray, real: np.ndarray, rows: int, columns: int) -> int:
    """Zeros that lie in whole blocks of zeros."""
    blocks = cut(~zero & real, rows, columns)
    weights = cut(real, rows, columns).sum(axis=(2, 3))
    return int(weights[~blocks.any(axis=(2, 3))].sum())


def _name(rows: int, columns: int) -> str:
    return "unstructured" if rows == columns == 1 else f"{rows}x{columns}"


def remove_dead(network: Network) -> tuple[int, int]:
    """Takes out heads and neurons that add nothing to any answer, or the same to every answer.

    A head adds nothing if no weight of `attention.output` reads it. If its values have no weights it returns their
    bias for every token, since attention weights sum to one; what that adds is moved into the bias that follows. A
    neuron is dead in the same two ways. Every layer keeps one of each.

    Args:
        network: float32; entries are replaced, no array is changed.

    Returns:
        Heads and neurons that were taken out.
    """
    heads = neurons = 0
    if any(name.startswith("layers.") for name in network.aliases) or not is_plain(network.architecture):
        return 0, 0  # a head of one layer is a head of every layer that shares it
    for number, layer in enumerate(network.architecture.layers):
        alive = _live_heads(network, number)
        if len(alive) < layer.num_heads:
            keep_heads(network, number, alive)
            heads += layer.num_heads - len(alive)
        alive = _live_neurons(network, number)
        if len(alive) < layer.ffn_size:
            keep_neurons(network, number, alive)
            neurons += layer.ffn_size - len(alive)
    return heads, neurons


def _live_heads(network: Network, number: int) -> np.ndarray:
    heads, width = network.architecture.layers[number].num_heads, padded(network.architecture.head_size)
    qkv = float_linear(network, f"layers.{number}.attention.qkv")
    name = f"layers.{number}.attention.output"
    output = float_linear(network, name)
    unread = ~output.weight.reshape(len(output.weight), heads, width).any(axis=(0, 2))
    constant = ~qkv.weight[2 * heads * width :].reshape(heads, -1).any(axis=1)
    dead = np.asarray(unread | constant)
    columns = head_columns(network, np.flatnonzero(dead))
    _to_bias(network, name, output, columns, qkv.bias[2 * heads * width :][columns])
    return _one_at_least(~dead)


def _live_neurons(network: Network, number: int) -> np.ndarray:
    up = float_linear(network, f"layers.{number}.ffn.up")
    name = f"layers.{number}.ffn.down"
    down = float_linear(network, name)
    dead = np.asarray(~down.weight[:, : len(up.weight)].any(axis=0) | ~up.weight.any(axis=1))
    columns = np.flatnonzero(dead)
    _to_bias(network, name, down, columns, activate(up.bias[columns], network.architecture.activation))
    return _one_at_least(~dead)


def _to_bias(network: Network, name: str, linear: LinearWeights, columns: np.ndarray, values: np.ndarray) -> None:
    """Inputs that never change become a part of the bias, and lose their weights."""
    constant = linear.weight[:, columns] @ values
    if constant.any():
        weight = linear.weight.copy()
        weight[:, columns] = 0
        network.linears[name] = replace(linear, weight=weight, bias=linear.bias + constant)


def _one_at_least(alive: np.ndarray) -> np.ndarray:
    kept = np.flatnonzero(alive)
    return kept if len(kept) else np.array([0])
