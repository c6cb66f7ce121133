"""Encoders that transformers lacks, written down from the code of their checkpoints in float64, without that code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.engine.test_reference import ACTIVATIONS

Weights = Mapping[str, np.ndarray]


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """The rows times a matrix, and its bias if it has one."""
    y = x @ weights[f"{name}.weight"].T.astype(np.float64)
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def layer_norm(weights: Weights, name: str, x: np.ndarray, eps: float) -> np.ndarray:
    """LayerNorm of rows."""
    centred = x - x.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: Callable[[int], np.ndarray] | None = None
) -> np.ndarray:
    """Softmax attention of heads [heads, tokens, size]; rows [tokens, heads * size]. `bias`: of so many tokens."""
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias(q.shape[1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    context = weights / weights.sum(axis=-1, keepdims=True) @ v
    return context.transpose(1, 0, 2).reshape(q.shape[1], -1)


def _heads(x: np.ndarray, heads: int) -> np.ndarray:
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def alibi(heads: int, tokens: int) -> np.ndarray:
    """Biases [heads, tokens, tokens] of Press et al. (arXiv 2108.12409), symmetric, for any number of heads."""

    def powers(count: int) -> list[float]:
        return [2.0 ** (-8.0 * (head + 1) / count) for head in range(count)]

    most = max(count for count in (1, 2, 4, 8, 16, 32) if count <= heads)
    slopes = powers(most) + powers(2 * most)[::2][: heads - most]
    place = np.arange(tokens)
    return -np.array(slopes)[:, None, None] * abs(place[:, None] - place)


def jina_v2(weights: Weights, config: Mapping[str, Any], ids: list[int], types: list[int]) -> np.ndarray:
    """Rows of jinaai/jina-bert-implementation's JinaBertModel: float64 [tokens, hidden]."""
    eps, heads, ffn = config["layer_norm_eps"], config["num_attention_heads"], config["intermediate_size"]
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][types]
    x = layer_norm(weights, "embeddings.LayerNorm", x.astype(np.float64), eps)
    activation = ACTIVATIONS[{"geglu": "gelu", "reglu": "relu"}[config["feed_forward_type"]]]
    for number in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        q, k, v = (
            _heads(linear(weights, f"{name}.attention.self.{part}", x), heads) for part in ("query", "key", "value")
        )
        context = attention(q, k, v, lambda tokens: alibi(heads, tokens))
        y = linear(weights, f"{name}.attention.output.dense", context)
        x = layer_norm(weights, f"{name}.attention.output.LayerNorm", y + x, eps)
        y = linear(weights, f"{name}.mlp.gated_layers", x)
        y = linear(weights, f"{name}.mlp.wo", activation(y[:, :ffn]) * y[:, ffn:])
        x = layer_norm(weights, f"{name}.mlp.layernorm", y + x, eps)
    return x
