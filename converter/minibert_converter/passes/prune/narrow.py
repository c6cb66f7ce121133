"""A narrower residual stream: every row that the layers hand on has fewer features.

One orthonormal basis P serves the whole stream: matrices that read it become W P, matrices that write it P^T W. Its
directions are those that hold most of what LayerNorms return on some texts (as SliceGPT, arXiv 2401.15024, which turns
each layer by itself). LayerNorm does not commute with a projection, so its weight and bias are fitted anew, feature by
feature. What comes out is a start for a training, not yet a good model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import InputError, UnsupportedError
from minibert.format.constants import padded
from minibert.reference.functions import layer_norm
from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.matrices import float_linear, has_plain_head, is_plain, norm_of, widened
from minibert_converter.network import Float32Array, LinearWeights, Network, Norm

#: Texts on which directions are judged and norms are fitted.
TEXTS = 256


def narrow(network: Network, size: int, tokens: Tokens, seed: int) -> None:
    """Leaves `size` features of each row.

    Args:
        network: float32; all that reads or writes the stream gets a new entry.
        size: features to keep.
        tokens: texts like those to come.
        seed: of a rotation among the directions that are kept: LayerNorm divides by the spread over features, which
            says little where one feature holds most of it.

    Raises:
        InputError: `size` is not less than the features there are.
        UnsupportedError: the network is of a kind whose stream cannot be projected.
    """
    architecture = network.architecture
    if not 1 <= size < architecture.hidden_size:
        raise InputError(f"hidden_size {size}: the model has {architecture.hidden_size} features, and fewer must stay")
    tables = all(isinstance(table, np.ndarray) for table in network.tables.values())
    if not is_plain(architecture) or architecture.table_size != architecture.hidden_size or not tables:
        raise UnsupportedError(f"models of the family {architecture.model_type} cannot be narrowed")
    linear = bool(architecture.head) and has_plain_head(architecture)
    if network.aliases or architecture.word_size or not linear:
        raise UnsupportedError("a model with shared layers, factorised embeddings or without a head cannot be narrowed")
    seen = _norm_rows(network, tokens.sample(TEXTS))
    basis = _basis([after for _, after in seen.values()], size, seed)
    for name, (before, after) in seen.items():
        network.norms[name] = _fit_norm(before @ basis, after @ basis, architecture.layer_norm_eps)
    full = architecture.hidden_size
    for name, table in network.tables.items():
        assert isinstance(table, np.ndarray)
        network.tables[name] = _pad(table[:, :full] @ basis)
    readers = [architecture.head[0].name]
    for number in range(len(architecture.layers)):
        readers += [f"layers.{number}.attention.qkv", f"layers.{number}.ffn.up"]
        for name in (f"layers.{number}.attention.output", f"layers.{number}.ffn.down"):
            linear = float_linear(network, name)
            network.linears[name] = LinearWeights(basis.T @ linear.weight, basis.T @ linear.bias)
    for name in readers:
        linear = float_linear(network, name)
        network.linears[name] = LinearWeights(_pad(linear.weight[:, :full] @ basis), linear.bias)
    network.architecture = replace(architecture, hidden_size=size)


def _norm_rows(network: Network, tokens: Tokens) -> dict[str, tuple[Float32Array, Float32Array]]:
    """By name of a LayerNorm, what enters it and what it returns: float32 [tokens, hidden_size] each."""
    architecture = network.architecture
    full = architecture.hidden_size
    tables = {name: np.asarray(table) for name, table in network.tables.items()}
    ids, types = ([one for chunk in tokens.chunks() for one in chunk[which]] for which in (0, 1))
    embedded = tables["embeddings.word"][np.concatenate(ids)]
    if "embeddings.position" in tables:
        embedded = embedded + tables["embeddings.position"][np.concatenate([np.arange(len(one)) for one in ids])]
    if "embeddings.token_type" in tables:
        embedded = embedded + tables["embeddings.token_type"][np.concatenate(types)]
    before = {"embeddings.norm": embedded}
    stream = Stream(network, tokens)
    while (name := stream.advance()) is not None:
        if residuals := list(stream.residuals()):
            sums = [rows + residual[:, :full] for rows, residual in zip(stream.outputs(), residuals, strict=True)]
            before[f"{name.rpartition('.')[0]}.norm"] = _pad(np.concatenate(sums))
    seen = {}
    for name, rows in before.items():
        norm = norm_of(network, name)
        after = layer_norm(rows, norm.weight, norm.bias, full, architecture.layer_norm_eps)
        seen[name] = rows[:, :full], after[:, :full]
    return seen


def _basis(rows: list[Float32Array], size: int, seed: int) -> Float32Array:
    """The directions with most of the energy, each set of rows counting the same, float32 [hidden_size, size]."""
    moments = sum(one.T.astype(np.float64) @ one / np.square(one, dtype=np.float64).sum() for one in rows)
    vectors = np.linalg.eigh(moments)[1][:, -size:]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]
    return (vectors @ rotation).astype(np.float32)


def _fit_norm(before: Float32Array, after: Float32Array, eps: float) -> Norm:
    """The LayerNorm that makes of rows the others as nearly as it can: least squares by feature."""
    centred = before - before.mean(axis=1, keepdims=True)
    x = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + eps)
    spread = np.maximum(x.var(axis=0), 1e-12)
    slope = ((x - x.mean(axis=0)) * (after - after.mean(axis=0))).mean(axis=0) / spread
    bias = after.mean(axis=0) - slope * x.mean(axis=0)
    return Norm(_pad(slope[None].astype(np.float32))[0], _pad(bias[None].astype(np.float32))[0])


def _pad(rows: Float32Array) -> Float32Array:
    """Rows with columns of zeros up to a whole number of panels."""
    return widened(rows, padded(rows.shape[1]))
