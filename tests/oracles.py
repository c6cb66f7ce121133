"""Encoders that transformers lacks, written down from the code of their checkpoints in float64, without that code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import write_json
from tests.engine.test_reference import ACTIVATIONS
from tests.families import checkpoint_weights, write_tokenizer_json

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


def _jina_v2_shapes(config: Mapping[str, Any]) -> dict[str, list[int]]:
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": [config["vocab_size"], hidden],
        "embeddings.token_type_embeddings.weight": [2, hidden],
        "pooler.dense.weight": [hidden, hidden],
        "pooler.dense.bias": [hidden],
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{name}.attention.{part}.weight"] = [hidden, hidden]
            shapes[f"{name}.attention.{part}.bias"] = [hidden]
        shapes[f"{name}.mlp.gated_layers.weight"] = [2 * ffn, hidden]
        shapes[f"{name}.mlp.wo.weight"] = [hidden, ffn]
        shapes[f"{name}.mlp.wo.bias"] = [hidden]
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.mlp.layernorm"]
    return shapes | {f"{name}.{part}": [hidden] for name in norms for part in ("weight", "bias")}


def neobert(weights: Weights, config: Mapping[str, Any], ids: list[int], types: list[int]) -> np.ndarray:
    """Rows of chandar-lab/NeoBERT's NeoBERT: float64 [tokens, hidden]."""
    heads = config["num_attention_heads"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + config["norm_eps"]) * weights[f"{name}.weight"]

    def turned(x: np.ndarray) -> np.ndarray:
        frequency = 10000.0 ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * np.arange(x.shape[1])[:, None] * frequency)
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)

    x = weights["model.encoder.weight"][ids].astype(np.float64)
    for number in range(config["num_hidden_layers"]):
        name = f"model.transformer_encoder.{number}"
        qkv = _heads(linear(weights, f"{name}.qkv", norm(f"{name}.attention_norm", x)), heads)
        q, k, v = np.split(qkv, 3, axis=-1)
        x = x + linear(weights, f"{name}.wo", attention(turned(q), turned(k), v))
        first, second = np.split(linear(weights, f"{name}.ffn.w12", norm(f"{name}.ffn_norm", x)), 2, axis=1)
        x = x + linear(weights, f"{name}.ffn.w3", ACTIVATIONS["silu"](first) * second)
    return norm("model.layer_norm", x)


def _neobert_shapes(config: Mapping[str, Any]) -> dict[str, list[int]]:
    hidden, neurons = config["hidden_size"], 72  # of 100: 66, rounded up
    shapes = {
        "model.encoder.weight": [config["vocab_size"], hidden],
        "model.layer_norm.weight": [hidden],
        "decoder.weight": [config["vocab_size"], hidden],
        "decoder.bias": [config["vocab_size"]],
    }
    for number in range(config["num_hidden_layers"]):
        name = f"model.transformer_encoder.{number}"
        shapes |= {
            f"{name}.qkv.weight": [3 * hidden, hidden],
            f"{name}.wo.weight": [hidden, hidden],
            f"{name}.ffn.w12.weight": [2 * neurons, hidden],
            f"{name}.ffn.w3.weight": [hidden, neurons],
            f"{name}.attention_norm.weight": [hidden],
            f"{name}.ffn_norm.weight": [hidden],
        }
    return shapes


class Oracle(NamedTuple):
    """A network: a config, the shapes of its tensors, and what it computes."""

    config: dict[str, Any]
    shapes: Callable[[Mapping[str, Any]], dict[str, list[int]]]
    rows: Callable[[Weights, Mapping[str, Any], list[int], list[int]], np.ndarray]

    def weights(self) -> dict[str, np.ndarray]:
        """Noise, the same at every time."""
        return checkpoint_weights(self.shapes(self.config))

    def write(self, folder: Path, weights: Weights | None = None, **values: Any) -> Path:
        """A checkpoint whose config.json has these values besides, None leaving a key out."""
        folder.mkdir(exist_ok=True, parents=True)
        config = {key: value for key, value in {**self.config, **values}.items() if value is not None}
        write_json(folder / "config.json", config)
        save_file(dict(self.weights() if weights is None else weights), folder / "model.safetensors")
        write_tokenizer_json(folder, config["vocab_size"])
        return folder

    def texts(self) -> tuple[list[list[int]], list[list[int]]]:
        """Ids and types of a text longer than a block of keys, of a pair, and of an empty one."""
        random = np.random.RandomState(3)
        ids = [[2, *random.randint(5, 203, count).tolist(), 3] for count in (300, 20, 0)]
        return ids, [[0] * 302, [0] * 12 + [int("type_vocab_size" in self.config)] * 10, [0, 0]]

    def vectors(self, ids: list[list[int]], types: list[list[int]], **values: Any) -> np.ndarray:
        """The mean row of each text: float64 [texts, hidden]."""
        weights, config = self.weights(), self.config | values
        return np.stack([self.rows(weights, config, *text).mean(axis=0) for text in zip(ids, types, strict=True)])


_SIZES = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 100,
    "vocab_size": 203,
}
ORACLES = {
    "jina-v2": Oracle(
        _SIZES
        | {
            "model_type": "bert",
            "architectures": ["JinaBertModel"],
            "auto_map": {
                "AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig",
                "AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel",
            },
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
            "emb_pooler": "mean",
            "attn_implementation": "torch",
            "max_position_embeddings": 8192,
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
        },
        _jina_v2_shapes,
        jina_v2,
    ),
    "neobert": Oracle(
        _SIZES
        | {
            "model_type": "neobert",
            "architectures": ["NeoBERT"],
            "auto_map": {"AutoConfig": "model.NeoBERTConfig", "AutoModel": "model.NeoBERT"},
            "max_length": 4096,
            "norm_eps": 1e-5,
            "embedding_init_range": 0.02,
            "decoder_init_range": 0.02,
            "pad_token_id": 0,
        },
        _neobert_shapes,
        neobert,
    ),
}
