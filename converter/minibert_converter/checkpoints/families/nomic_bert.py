"""nomic-bert (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary positions, SwiGLU and no biases."""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import Attention, heads, masked_words, task_classes
from minibert_converter.checkpoints.rotary import read_rotary
from minibert_converter.checkpoints.sizes import Sizes


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    return [(0, read_rotary(config, sizes, "rotary_emb_base", 1000.0))] * sizes.num_layers


NOMIC_BERT = replace(
    BERT,
    model_type="nomic_bert",
    prefixes=("nomic_bert.",),
    renamed={},
    sizes={
        "hidden_size": Key("hidden_size", 768, "n_embd"),
        "num_layers": Key("num_hidden_layers", 12, "n_layer"),
        "num_heads": Key("num_attention_heads", 12, "n_head"),
        "ffn_size": Key("intermediate_size", 3072, "n_inner"),
        "vocab_size": Key("vocab_size", 30528),
        "max_positions": Key("max_position_embeddings", 2048, "n_positions"),
        "token_types": Key("type_vocab_size", 2),
    },
    activation=Key("hidden_act", "silu", "activation_function"),
    layer_norm_eps=Key("layer_norm_eps", 1e-12, "layer_norm_epsilon"),
    must_be={
        **BERT.must_be,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "parallel_block": False,
        "prenorm": False,
        "use_rms_norm": False,
        "causal": False,
    },
    tensors={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "emb_ln",
        "layers.{layer}.attention.qkv": "encoder.layers.{layer}.attn.Wqkv",
        "layers.{layer}.attention.output": "encoder.layers.{layer}.attn.out_proj",
        "layers.{layer}.attention.norm": "encoder.layers.{layer}.norm1",
        "layers.{layer}.ffn.gate": "encoder.layers.{layer}.mlp.fc12",
        "layers.{layer}.ffn.up": "encoder.layers.{layer}.mlp.fc11",
        "layers.{layer}.ffn.down": "encoder.layers.{layer}.mlp.fc2",
        "layers.{layer}.ffn.norm": "encoder.layers.{layer}.norm2",
    },
    heads=heads(
        text_classification=BERT.heads["text-classification"],
        fill_mask=masked_words(
            "cls.predictions.transform.dense",
            Key("hidden_act", "silu"),
            "cls.predictions.transform.layer_norm",
            "cls.predictions.decoder",
            bias="cls.predictions.bias",
        ),
    ),
    architectures=task_classes("NomicBert"),
    attention=_attention,
    gated=True,
    optional_biases=True,
    code=r"NomicBert\w+",
)
