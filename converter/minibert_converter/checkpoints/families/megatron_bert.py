"""Megatron-BERT (Shoeybi et al. 2019, arXiv 1909.08053): BERT with norms ahead, also of the first layer."""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import task_classes

MEGATRON_BERT = replace(
    BERT,
    model_type="megatron-bert",
    renamed={},
    sizes={
        **BERT.sizes,
        "hidden_size": Key("hidden_size", 1024),
        "num_layers": Key("num_hidden_layers", 24),
        "num_heads": Key("num_attention_heads", 16),
        "ffn_size": Key("intermediate_size", 4096),
        "vocab_size": Key("vocab_size", 29056),
    },
    tensors={
        **BERT.tensors,
        "embeddings.norm": "encoder.layer.0.attention.ln",
        "layers.{layer}.attention.norm": "encoder.layer.{layer}.ln",
        "layers.{layer}.ffn.norm": "encoder.layer.{next}.attention.ln",
    },
    architectures=task_classes("MegatronBert", pretraining=True),
    last_norm="encoder.ln",
    sum_of_embeddings=True,
)
