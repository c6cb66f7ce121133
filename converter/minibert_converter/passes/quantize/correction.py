"""Taking back what quantized layers do to the rows of all texts alike.

Each matrix's bias makes up for its own mean error (`matrix`). But errors pass through what isn't linear, and what they
add up to at the end has a mean again. The bias of the last layer's LayerNorm takes that back (bias correction by
comparing outputs, arXiv 1906.04721), at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minibert_converter.calibration.outputs import outputs
from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.network import Float32Array, Network

#: Texts that are run, twice, and the rows from which on their mean says something.
_TEXTS = 256
_LEAST_ROWS = 64


class MeanCorrection:
    """Remembers the mean of the last rows of a network, so that it can be restored after the network was quantized.

    Nothing happens where the last norm ends other layers as well, or tokens or texts leave before it.

    Args:
        network: as it should answer.
        tokens: texts; some of them are run.
    """

    def __init__(self, network: Network, tokens: Tokens) -> None:
        self._tokens = tokens.sample(_TEXTS)
        self._norm = _last_norm(network)
        # Matrix by matrix: packed for the engine, matrices in float32 would lie in memory twice.
        self._rows = _last_rows(network, self._tokens, _streamed) if self._norm else None

    def restore(self, network: Network) -> None:
        """Shifts the last norm so that the rows it returns have their mean back."""
        if self._norm is None or self._rows is None or len(self._rows) < _LEAST_ROWS:
            return
        now = _last_rows(network, self._tokens, lambda bare, tokens: outputs(bare, tokens.chunks()))
        shift = (self._rows - now).mean(axis=0, dtype=np.float64).astype(np.float32)
        norm = network.norms[self._norm]
        bias = norm.bias.copy()
        bias[: len(shift)] += shift  # what lies behind is padding
        network.norms[self._norm] = replace(norm, bias=bias)


def _last_norm(network: Network) -> str | None:
    """The norm that ends the last layer, if it ends that alone, all tokens get there and one answer is made of it."""
    architecture = network.architecture
    if architecture.exits or architecture.token_heads or any(layer.keep_tokens < 1 for layer in architecture.layers):
        return None
    norm = f"layers.{len(architecture.layers) - 1}.ffn.norm"
    shared = {*network.aliases, *network.aliases.values()}
    return norm if norm in network.norms and norm not in shared else None


def _streamed(network: Network, tokens: Tokens) -> Float32Array:
    """What a network without pooling returns for the tokens of texts in chunks."""
    stream = Stream(network, tokens)
    while stream.advance():
        pass
    return np.concatenate(list(stream.results()))


def _last_rows(network: Network, tokens: Tokens, rows_of: Callable[[Network, Tokens], Float32Array]) -> Float32Array:
    """What the last layer returns and the answer is made of: float32 [tokens, hidden size], or [texts, hidden size]."""
    bare = replace(network.architecture, pooling="none", head=(), normalize=False, pool_after=0, layer_weights=())
    rows = rows_of(replace(network, architecture=bare), tokens)
    if network.architecture.pooling != "cls":
        return rows
    lengths = [len(one) for ids, _ in tokens.chunks() for one in ids]
    return rows[np.cumsum([0, *lengths[:-1]])]
