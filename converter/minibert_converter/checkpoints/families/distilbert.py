"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT with half the layers, without token types and pooler."""

from __future__ import annotations

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.family import Family, classifier, heads, masked_words, task_classes

DISTILBERT = Family(
    model_type="distilbert",
    prefixes=("distilbert.",),
    sizes={
        "hidden_size": Key("dim", 768, "hidden_size"),
        "num_layers": Key("n_layers", 6, "num_hidden_layers"),
        "num_heads": Key("n_heads", 12, "num_attention_heads"),
        "ffn_size": Key("hidden_dim", 3072),
        "vocab_size": Key("vocab_size", 30522),
        "max_positions": Key("max_position_embeddings", 512),
    },
    activation=Key("activation", "gelu"),
    layer_norm_eps=Key("layer_norm_eps", 1e-12),
    tensors={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{layer}.attention.query": "transformer.layer.{layer}.attention.q_lin",
        "layers.{layer}.attention.key": "transformer.layer.{layer}.attention.k_lin",
        "layers.{layer}.attention.value": "transformer.layer.{layer}.attention.v_lin",
        "layers.{layer}.attention.output": "transformer.layer.{layer}.attention.out_lin",
        "layers.{layer}.attention.norm": "transformer.layer.{layer}.sa_layer_norm",
        "layers.{layer}.ffn.up": "transformer.layer.{layer}.ffn.lin1",
        "layers.{layer}.ffn.down": "transformer.layer.{layer}.ffn.lin2",
        "layers.{layer}.ffn.norm": "transformer.layer.{layer}.output_layer_norm",
    },
    heads=heads(
        text_classification=classifier("pre_classifier", "relu", "classifier"),
        fill_mask=masked_words("vocab_transform", Key("activation", "gelu"), "vocab_layer_norm", "vocab_projector"),
    ),
    architectures=task_classes("DistilBert"),
    unused=(
        r"embeddings\.position_ids",
        r"(pre_classifier|classifier|qa_outputs|vocab_transform|vocab_layer_norm|vocab_projector)\..*",
    ),
)
