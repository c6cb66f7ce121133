"""EuroBERT (Boizard et al. 2025, arXiv 2503.05500): Llama without its mask. RMSNorm ahead, rotary positions, SwiGLU."""

from __future__ import annotations

from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.family import Attention, Family, Head, HeadSource, heads, task_classes
from minibert_converter.checkpoints.rotary import read_rotary
from minibert_converter.checkpoints.sizes import Sizes


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    return [(0, read_rotary(config, sizes, "rope_theta", 10000.0))] * sizes.num_layers


_CLASSIFIER = (HeadSource("head.dense", "dense", "gelu"), HeadSource("head.output", "classifier"))

EUROBERT = Family(
    model_type="eurobert",
    prefixes=("model.",),
    sizes={
        "hidden_size": Key("hidden_size", 768),
        "num_layers": Key("num_hidden_layers", 12),
        "num_heads": Key("num_attention_heads", 12),
        "key_heads": Key("num_key_value_heads"),
        "own_head_size": Key("head_dim"),
        "ffn_size": Key("intermediate_size", 3072),
        "vocab_size": Key("vocab_size", 128256),
        "max_positions": Key("max_position_embeddings", 8192),
    },
    activation=Key("hidden_act", "silu"),
    layer_norm_eps=Key("rms_norm_eps", 1e-5),
    tensors={
        "embeddings.word": "embed_tokens",
        "embeddings.norm": "layers.0.input_layernorm",
        "layers.{layer}.attention.query": "layers.{layer}.self_attn.q_proj",
        "layers.{layer}.attention.key": "layers.{layer}.self_attn.k_proj",
        "layers.{layer}.attention.value": "layers.{layer}.self_attn.v_proj",
        "layers.{layer}.attention.output": "layers.{layer}.self_attn.o_proj",
        "layers.{layer}.attention.norm": "layers.{layer}.post_attention_layernorm",
        "layers.{layer}.ffn.gate": "layers.{layer}.mlp.gate_proj",
        "layers.{layer}.ffn.up": "layers.{layer}.mlp.up_proj",
        "layers.{layer}.ffn.down": "layers.{layer}.mlp.down_proj",
        "layers.{layer}.ffn.norm": "layers.{next}.input_layernorm",
    },
    heads=heads(
        text_classification=Head(Key("classifier_pooling", "late", older="clf_pooling"), _CLASSIFIER),
        fill_mask=Head("none", (HeadSource("head.output", "lm_head", tied=True),)),
    ),
    architectures=task_classes("EuroBert"),
    unused=(r"(dense|classifier|lm_head|qa_outputs)\..*",),
    attention=_attention,
    last_norm="norm",
    norm="rms",
    sum_of_embeddings=True,
    gated=True,
    optional_biases=True,
    bias_keys={
        r".*\.self_attn\..*": Key("attention_bias", False),
        r".*\.mlp\..*": Key("mlp_bias", False),
        r"lm_head": Key("mlp_bias", False),
        r".*norm": Key("", False),
        r"dense|classifier": Key("", True),
    },
    tokenizer="PreTrainedTokenizerFast",
    code=r"EuroBert\w+",
)
