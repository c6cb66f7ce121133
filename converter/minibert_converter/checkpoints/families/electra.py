"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT whose embeddings may be narrower than the hidden state."""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import classifier, heads, masked_words, task_classes

ELECTRA = replace(
    BERT,
    model_type="electra",
    prefixes=("electra.",),
    renamed={},
    sizes={
        **BERT.sizes,
        "embedding_size": Key("embedding_size", 128),
        "hidden_size": Key("hidden_size", 256),
        "num_heads": Key("num_attention_heads", 4),
        "ffn_size": Key("intermediate_size", 1024),
    },
    tensors={**BERT.tensors, "embeddings.projection": "embeddings_project"},
    heads=heads(
        text_classification=classifier("classifier.dense", "gelu", "classifier.out_proj"),
        fill_mask=masked_words(
            "generator_predictions.dense", "gelu", "generator_predictions.LayerNorm", "generator_lm_head"
        ),
    ),
    architectures={**task_classes("Electra"), "ElectraForPreTraining": "sentence-embedding"},
    unused=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"(classifier|qa_outputs|generator_predictions|generator_lm_head|discriminator_predictions)\..*",
    ),
)
