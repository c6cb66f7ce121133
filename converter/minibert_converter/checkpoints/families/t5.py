"""Encoders of T5 (Raffel et al. 2019, arXiv 1910.10683) and mT5 (2010.11934): sentence-t5, gtr-t5, ...

Norms are RMSNorm and stand ahead; biases of attention go by distance, scores are not scaled, and nothing else has a
bias. What belongs to the decoder is left out.
"""

from __future__ import annotations

from dataclasses import replace

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints.config_file import ACTIVATIONS, ConfigFile, Key
from minibert_converter.checkpoints.families.mpnet import bias_by_bucket
from minibert_converter.checkpoints.family import Family, Head, HeadSource
from minibert_converter.network import Float32Array

_BLOCK = "encoder.block.{layer}.layer"
_BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"


def _configured(family: Family, config: ConfigFile) -> Family:
    """`feed_forward_proj` says both the activation and whether it is gated."""
    key = family.activation
    assert isinstance(key, Key)
    said = str(config.value(key))
    name = said.removeprefix("gated-")
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"{config.path}: {key.name} is {said!r:.40}; supported are {', '.join(ACTIVATIONS)}")
    gated = name != said
    inner = {"ffn.gate": "wi_0", "ffn.up": "wi_1"} if gated else {"ffn.up": "wi"}
    names = {f"layers.{{layer}}.{part}": f"{_BLOCK}.1.DenseReluDense.{own}" for part, own in inner.items()}
    buckets = config.size(Key("relative_attention_num_buckets", 32), 4)
    furthest = config.size(Key("relative_attention_max_distance", 128), buckets // 4 + 1)

    def expand(table: Float32Array, max_positions: int) -> Float32Array:
        if len(table) != buckets:
            raise CheckpointError(
                f"{config.path}: relative_attention_num_buckets is {buckets}, but {_BIAS} has {len(table)} rows"
            )
        return bias_by_bucket(table, max_positions, furthest)

    return replace(
        family,
        activation="gelu_tanh" if said == "gated-gelu" else ACTIVATIONS[name],
        gated=gated,
        tensors={**family.tensors, **names},
        position_bias=(_BIAS, expand),
    )


T5 = Family(
    model_type="t5",
    prefixes=("transformer.",),
    sizes={
        "hidden_size": Key("d_model", 512),
        "num_layers": Key("num_layers", 6),
        "num_heads": Key("num_heads", 8),
        "own_head_size": Key("d_kv", 64),
        "ffn_size": Key("d_ff", 2048),
        "vocab_size": Key("vocab_size", 32128),
        "max_positions": Key("n_positions", 512),
    },
    activation=Key("feed_forward_proj", "relu"),
    layer_norm_eps=Key("layer_norm_epsilon", 1e-6),
    must_be={"is_decoder": False},
    tensors={
        "embeddings.word": "shared",
        "embeddings.norm": "encoder.block.0.layer.0.layer_norm",
        "layers.{layer}.attention.query": f"{_BLOCK}.0.SelfAttention.q",
        "layers.{layer}.attention.key": f"{_BLOCK}.0.SelfAttention.k",
        "layers.{layer}.attention.value": f"{_BLOCK}.0.SelfAttention.v",
        "layers.{layer}.attention.output": f"{_BLOCK}.0.SelfAttention.o",
        "layers.{layer}.attention.norm": f"{_BLOCK}.1.layer_norm",
        "layers.{layer}.ffn.down": f"{_BLOCK}.1.DenseReluDense.wo",
        "layers.{layer}.ffn.norm": "encoder.block.{next}.layer.0.layer_norm",
    },
    heads={
        "sentence-embedding": Head("mean"),
        "token-classification": Head("none", (HeadSource("head.output", "classifier"),)),
    },
    architectures={"T5EncoderModel": "sentence-embedding", "T5ForTokenClassification": "token-classification"},
    unused=(r"(encoder|decoder)\.embed_tokens\.weight", r"decoder\..*", r"(lm_head|classifier)\..*"),
    last_norm="encoder.final_layer_norm",
    norm="rms",
    sum_of_embeddings=True,
    unscaled=True,
    words=("encoder.embed_tokens",),
    any_length=True,
    optional_biases=True,
    bias_keys={r"encoder\..*": Key("", False), "classifier": Key("", True)},
    tokenizer="T5Tokenizer",
    configured=_configured,
)

MT5 = replace(
    T5,
    model_type="mt5",
    sizes={
        **T5.sizes,
        "num_layers": Key("num_layers", 8),
        "num_heads": Key("num_heads", 6),
        "ffn_size": Key("d_ff", 1024),
        "vocab_size": Key("vocab_size", 250112),
    },
    activation=Key("feed_forward_proj", "gated-gelu"),
    architectures={"MT5EncoderModel": "sentence-embedding", "MT5ForTokenClassification": "token-classification"},
)
