"""ALBERT (Lan et al. 2019, arXiv 1909.11942): one layer's weights serve all layers, and narrow embeddings."""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import classifier, heads, masked_words, task_classes

_LAYER = "encoder.albert_layer_groups.{group}.albert_layers.0"

ALBERT = replace(
    BERT,
    model_type="albert",
    prefixes=("albert.",),
    renamed={},
    sizes={
        **BERT.sizes,
        "embedding_size": Key("embedding_size", 128),
        "hidden_size": Key("hidden_size", 4096),
        "num_heads": Key("num_attention_heads", 64),
        "ffn_size": Key("intermediate_size", 16384),
        "vocab_size": Key("vocab_size", 30000),
        "num_groups": Key("num_hidden_groups", 1),
    },
    activation=Key("hidden_act", "gelu_new"),
    must_be={**BERT.must_be, "inner_group_num": 1},
    tensors={
        **{name: source for name, source in BERT.tensors.items() if name.startswith("embeddings.")},
        "embeddings.projection": "encoder.embedding_hidden_mapping_in",
        "layers.{layer}.attention.query": f"{_LAYER}.attention.query",
        "layers.{layer}.attention.key": f"{_LAYER}.attention.key",
        "layers.{layer}.attention.value": f"{_LAYER}.attention.value",
        "layers.{layer}.attention.output": f"{_LAYER}.attention.dense",
        "layers.{layer}.attention.norm": f"{_LAYER}.attention.LayerNorm",
        "layers.{layer}.ffn.up": f"{_LAYER}.ffn",
        "layers.{layer}.ffn.down": f"{_LAYER}.ffn_output",
        "layers.{layer}.ffn.norm": f"{_LAYER}.full_layer_layer_norm",
    },
    heads=heads(
        text_classification=classifier("pooler", "tanh", "classifier"),
        fill_mask=masked_words(
            "predictions.dense",
            Key("hidden_act", "gelu_new"),
            "predictions.LayerNorm",
            "predictions.decoder",
            bias="predictions.bias",
        ),
    ),
    architectures=task_classes("Albert", pretraining=True),
    unused=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"(pooler|classifier|qa_outputs|predictions|sop_classifier)\..*",
    ),
    tokenizer="AlbertTokenizer",
)
