"""BERT (Devlin et al. 2018, arXiv 1810.04805) and whatever was trained as one: MiniLM, TinyBERT, bge, e5, gte, ..."""

from __future__ import annotations

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.family import Family, classifier, heads, masked_words, task_classes

BERT = Family(
    model_type="bert",
    prefixes=("bert.",),
    renamed={".gamma": ".weight", ".beta": ".bias"},
    sizes={
        "hidden_size": Key("hidden_size", 768),
        "num_layers": Key("num_hidden_layers", 12),
        "num_heads": Key("num_attention_heads", 12),
        "ffn_size": Key("intermediate_size", 3072),
        "vocab_size": Key("vocab_size", 30522),
        "max_positions": Key("max_position_embeddings", 512),
        "token_types": Key("type_vocab_size", 2),
    },
    activation=Key("hidden_act", "gelu"),
    layer_norm_eps=Key("layer_norm_eps", 1e-12),
    must_be={"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False},
    tensors={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{layer}.attention.query": "encoder.layer.{layer}.attention.self.query",
        "layers.{layer}.attention.key": "encoder.layer.{layer}.attention.self.key",
        "layers.{layer}.attention.value": "encoder.layer.{layer}.attention.self.value",
        "layers.{layer}.attention.output": "encoder.layer.{layer}.attention.output.dense",
        "layers.{layer}.attention.norm": "encoder.layer.{layer}.attention.output.LayerNorm",
        "layers.{layer}.ffn.up": "encoder.layer.{layer}.intermediate.dense",
        "layers.{layer}.ffn.down": "encoder.layer.{layer}.output.dense",
        "layers.{layer}.ffn.norm": "encoder.layer.{layer}.output.LayerNorm",
    },
    heads=heads(
        text_classification=classifier("pooler.dense", "tanh", "classifier"),
        fill_mask=masked_words(
            "cls.predictions.transform.dense",
            Key("hidden_act", "gelu"),
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder",
            bias="cls.predictions.bias",
        ),
    ),
    architectures=task_classes("Bert", pretraining=True),
    unused=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"pooler\..*",
        r"(cls|classifier|qa_outputs)\..*",
    ),
)
