"""NeoBERT (Le Breton et al. 2025, arXiv 2502.19587): RMSNorm ahead, rotary positions, SwiGLU and no biases.

The table is that of the code that comes with chandar-lab/NeoBERT.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.family import Attention, Family, Head, HeadSource, classifier
from minibert_converter.checkpoints.rotary import Rotary
from minibert_converter.checkpoints.sizes import Sizes

_LAYER = "transformer_encoder.{layer}"


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    return [(0, Rotary(10000.0))] * sizes.num_layers


def _configured(family: Family, config: ConfigFile) -> Family:
    """Two thirds of what config.json says, rounded up to a multiple of 8, are the neurons of each half."""
    neurons = int(2 * config.size(Key("intermediate_size", 3072), 2) / 3)
    return replace(family, sizes={**family.sizes, "ffn_size": Key("", -(-neurons // 8) * 8)})


NEOBERT = Family(
    model_type="neobert",
    prefixes=("model.",),
    sizes={
        "hidden_size": Key("hidden_size", 768),
        "num_layers": Key("num_hidden_layers", 28),
        "num_heads": Key("num_attention_heads", 12),
        "vocab_size": Key("vocab_size", 30522),
        "max_positions": Key("max_length", 1024),
    },
    activation="silu",
    layer_norm_eps=Key("norm_eps", 1e-6),
    must_be={"rope_theta": 10000.0, "rope": True, "rms_norm": True, "ngpt": False},
    tensors={
        "embeddings.word": "encoder",
        "embeddings.norm": "transformer_encoder.0.attention_norm",
        "layers.{layer}.attention.qkv": f"{_LAYER}.qkv",
        "layers.{layer}.attention.output": f"{_LAYER}.wo",
        "layers.{layer}.attention.norm": f"{_LAYER}.ffn_norm",
        "layers.{layer}.ffn.up": f"{_LAYER}.ffn.w12",
        "layers.{layer}.ffn.down": f"{_LAYER}.ffn.w3",
        "layers.{layer}.ffn.norm": "transformer_encoder.{next}.attention_norm",
    },
    heads={
        "text-classification": classifier("dense", "tanh", "classifier"),
        "fill-mask": Head("none", (HeadSource("head.output", "decoder"),)),
        "sentence-embedding": Head("mean"),
    },
    architectures={
        "NeoBERT": "sentence-embedding",
        "NeoBERTLMHead": "fill-mask",
        "NeoBERTForSequenceClassification": "text-classification",
    },
    unused=(r"freqs_cis", r"(decoder|dense|classifier)\..*"),
    attention=_attention,
    interleaved=True,
    last_norm="layer_norm",
    norm="rms",
    sum_of_embeddings=True,
    qkv_by_head=True,
    gated=True,
    optional_biases=True,
    bias_keys={
        r"(encoder|transformer_encoder|layer_norm)\b.*": Key("", False),
        r"decoder|dense|classifier": Key("", True),
    },
    code=r"NeoBERT\w*",
    configured=_configured,
)
