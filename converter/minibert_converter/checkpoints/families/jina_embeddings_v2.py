"""jina-embeddings-v2 (Günther et al. 2023, arXiv 2310.19923): BERT with ALiBi and a gated feed-forward.

The table is that of jinaai/jina-bert-implementation, which calls itself "bert".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import UnsupportedError
from minibert.format.constants import Activation
from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import Family, Head, task_classes
from minibert_converter.network import Float32Array

_FEED_FORWARDS: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}


def _slopes(heads: int) -> Float32Array:
    """ALiBi's (Press et al. 2021, arXiv 2108.12409): powers of one number; its root's, too, if need be."""
    power = 1 << heads.bit_length() - 1
    whole = 2.0 ** (-8.0 / power * np.arange(1, power + 1))
    between = 2.0 ** (-4.0 / power * np.arange(1, 2 * (heads - power), 2))
    return np.concatenate([whole, between]).astype(np.float32)


def _bias_by_distance(table: Float32Array, max_positions: int) -> Float32Array:
    """[0, heads] to [heads, 2 max_positions - 1]: the further away, the less, to either side."""
    distance = np.abs(np.arange(1 - max_positions, max_positions)).astype(np.float32)
    return -_slopes(table.shape[1])[:, None] * distance


def _configured(family: Family, config: ConfigFile) -> Family:
    if "qk-post-norm" in repr(config.values.get("auto_map")):
        raise UnsupportedError(
            f"{config.path}: auto_map names jina-bert-v2-qk-post-norm, whose queries and keys have LayerNorms of their "
            "own: that is not supported"
        )
    kind = config.values.get("feed_forward_type")
    if kind not in _FEED_FORWARDS:
        raise UnsupportedError(
            f"{config.path}: feed_forward_type is {kind!r:.40}; supported are {', '.join(_FEED_FORWARDS)}"
        )
    return replace(family, activation=_FEED_FORWARDS[kind])


JINA_EMBEDDINGS_V2 = replace(
    BERT,
    renamed={},
    sizes={**BERT.sizes, "max_positions": Key("max_position_embeddings", 512)},
    must_be={"is_decoder": False, "add_cross_attention": False},
    tensors={
        **{
            name: source
            for name, source in BERT.tensors.items()
            if name != "embeddings.position" and not name.startswith("layers.{layer}.ffn.")
        },
        "layers.{layer}.ffn.up": "encoder.layer.{layer}.mlp.gated_layers",
        "layers.{layer}.ffn.down": "encoder.layer.{layer}.mlp.wo",
        "layers.{layer}.ffn.norm": "encoder.layer.{layer}.mlp.layernorm",
    },
    heads={**BERT.heads, "sentence-embedding": Head(Key("emb_pooler", "mean"))},
    architectures=task_classes("JinaBert"),
    position_bias=(None, _bias_by_distance),
    gated=True,
    bias_keys={
        r".*\.gated_layers": Key("", False),
        r".*\.(query|key|value|dense|wo|LayerNorm|layernorm)": Key("", True),
    },
    optional_biases=True,
    code=r"JinaBert\w+",
    told_by={"position_embedding_type": "alibi"},
    configured=_configured,
)
