"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, local attention, GeGLU, norms ahead."""

from __future__ import annotations

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.family import Attention, Family, Head, HeadSource, heads, task_classes
from minibert_converter.checkpoints.rotary import read_rotary
from minibert_converter.checkpoints.sizes import Sizes

_DEFAULT_BASES = {"full_attention": ("global_rope_theta", 160000.0), "sliding_attention": ("local_rope_theta", 10000.0)}


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    """Every third layer attends to all tokens; the others to half of `local_attention` to either side."""
    every = config.size(Key("global_attn_every_n_layers", 3))
    kinds = config.values.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(sizes.num_layers)
    ]
    if not isinstance(kinds, list) or len(kinds) != sizes.num_layers or not set(kinds) <= set(_DEFAULT_BASES):
        raise CheckpointError(f"{config.path}: layer_types must name {', '.join(_DEFAULT_BASES)} for each layer")
    if "sliding_window" in config.values:  # to either side; transformers has it overrule the other
        reach = config.size(Key("sliding_window"))
        if config.values.get("local_attention", 2 * reach) != 2 * reach:
            raise config.wrong("local_attention", f"{2 * reach}, twice the sliding_window")
    else:
        reach = config.size(Key("local_attention", 128)) // 2
    if reach < 1:
        raise UnsupportedError(
            f"{config.path}: local_attention is below 2, so that a token would attend to itself alone"
        )
    rotary = {kind: read_rotary(config, sizes, *default, kind=kind) for kind, default in _DEFAULT_BASES.items()}
    return [(reach if kind == "sliding_attention" else 0, rotary[kind]) for kind in kinds]


_HEAD = HeadSource("head.dense", "head.dense", activation=Key("classifier_activation", "gelu"), norm="head.norm")
_CLASSIFIER = HeadSource("head.output", "classifier")

MODERNBERT = Family(
    model_type="modernbert",
    prefixes=("model.",),
    sizes={
        "hidden_size": Key("hidden_size", 768),
        "num_layers": Key("num_hidden_layers", 22),
        "num_heads": Key("num_attention_heads", 12),
        "ffn_size": Key("intermediate_size", 1152),
        "vocab_size": Key("vocab_size", 50368),
        "max_positions": Key("max_position_embeddings", 8192),
    },
    activation=Key("hidden_activation", "gelu"),
    layer_norm_eps=Key("norm_eps", 1e-5),
    tensors={
        "embeddings.word": "embeddings.tok_embeddings",
        "embeddings.norm": "embeddings.norm",
        "layers.{layer}.attention.qkv": "layers.{layer}.attn.Wqkv",
        "layers.{layer}.attention.output": "layers.{layer}.attn.Wo",
        "layers.{layer}.attention.norm": "layers.{layer}.mlp_norm",
        "layers.{layer}.ffn.up": "layers.{layer}.mlp.Wi",
        "layers.{layer}.ffn.down": "layers.{layer}.mlp.Wo",
        "layers.{layer}.ffn.norm": "layers.{next}.attn_norm",
    },
    heads=heads(
        text_classification=Head(pooling=Key("classifier_pooling", "cls"), linears=(_HEAD, _CLASSIFIER)),
        token_classification=Head(pooling="none", linears=(_HEAD, _CLASSIFIER)),
        question_answering=Head(pooling="none", linears=(_HEAD, _CLASSIFIER)),
        fill_mask=Head(pooling="none", linears=(_HEAD, HeadSource("head.output", "decoder", tied=True))),
    ),
    architectures=task_classes("ModernBert"),
    unused=(r"(head|classifier|decoder)\..*",),
    attention=_attention,
    last_norm="final_norm",
    gated=True,
    optional_biases=True,
    bias_keys={
        r".*\.attn\.W(qkv|o)": Key("attention_bias", False),
        r".*\.mlp\.W[io]": Key("mlp_bias", False),
        r".*norm": Key("norm_bias", False),
        r"head\.dense": Key("classifier_bias", False),
        r"decoder": Key("decoder_bias", True),
    },
    tokenizer="TokenizersBackend",
)
