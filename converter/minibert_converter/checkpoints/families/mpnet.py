"""MPNet (Song et al. 2020, arXiv 2004.09297): RoBERTa's positions, and biases of attention by distance as in T5."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.roberta import ROBERTA
from minibert_converter.checkpoints.family import task_classes
from minibert_converter.network import Float32Array


def bias_by_bucket(buckets: Float32Array, max_positions: int, max_distance: int = 128) -> Float32Array:
    """[buckets, heads] to [heads, 2 max_positions - 1].

    Half of the buckets are for each direction; half of these for one distance each, the others grow like a logarithm
    (T5, arXiv 1910.10683). Distances from `max_distance` on share the last one.
    """
    half = len(buckets) // 2
    exact = half // 2
    distance = np.arange(1 - max_positions, max_positions)  # of the query behind the key
    far = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact)
    steps = np.log(far) / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    large = np.minimum(exact + steps.astype(np.int64), half - 1)
    bucket = np.where(np.abs(distance) < exact, np.abs(distance), large) + half * (distance < 0)
    return np.ascontiguousarray(buckets[bucket].T)


MPNET = replace(
    ROBERTA,
    model_type="mpnet",
    prefixes=("mpnet.",),
    sizes={name: key for name, key in ROBERTA.sizes.items() if name != "token_types"}
    | {"vocab_size": Key("vocab_size", 30527)},
    tensors={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{layer}.attention.query": "encoder.layer.{layer}.attention.attn.q",
        "layers.{layer}.attention.key": "encoder.layer.{layer}.attention.attn.k",
        "layers.{layer}.attention.value": "encoder.layer.{layer}.attention.attn.v",
        "layers.{layer}.attention.output": "encoder.layer.{layer}.attention.attn.o",
        "layers.{layer}.attention.norm": "encoder.layer.{layer}.attention.LayerNorm",
        "layers.{layer}.ffn.up": "encoder.layer.{layer}.intermediate.dense",
        "layers.{layer}.ffn.down": "encoder.layer.{layer}.output.dense",
        "layers.{layer}.ffn.norm": "encoder.layer.{layer}.output.LayerNorm",
    },
    architectures=task_classes("MPNet"),
    unused=(r"embeddings\.position_ids", r"(pooler|classifier|qa_outputs|lm_head)\..*"),
    padding_id=Key("", 1),  # transformers asks no config for it
    position_bias=("encoder.relative_attention_bias", bias_by_bucket),
    tokenizer="MPNetTokenizer",
)
