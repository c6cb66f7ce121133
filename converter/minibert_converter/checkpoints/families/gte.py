"""GTE (Zhang et al. 2024, arXiv 2407.19669): BERT with rotary positions and a gated feed-forward.

The code that the models were first published with calls the network "new". Its names are those that transformers writes
too; those that transformers has within are written by `save_pretrained(..., save_original_format=False)`.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import Attention, classifier, heads, masked_words, task_classes
from minibert_converter.checkpoints.rotary import read_rotary
from minibert_converter.checkpoints.sizes import Sizes


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    """One base for all layers, which the code of the checkpoints and transformers take to be different ones."""
    new = config.values.get("model_type") == "new"
    rotary = read_rotary(config, sizes, "rope_theta", 10000.0 if new else 160000.0, ntk=new)
    return [(0, rotary)] * sizes.num_layers


_EMBEDDINGS = {name: BERT.tensors[name] for name in ("embeddings.word", "embeddings.token_type", "embeddings.norm")}
_PACKED = {
    **_EMBEDDINGS,
    "layers.{layer}.attention.qkv": "encoder.layer.{layer}.attention.qkv_proj",
    "layers.{layer}.attention.output": "encoder.layer.{layer}.attention.o_proj",
    "layers.{layer}.attention.norm": "encoder.layer.{layer}.attn_ln",
    "layers.{layer}.ffn.up_gate": "encoder.layer.{layer}.mlp.up_gate_proj",
    "layers.{layer}.ffn.down": "encoder.layer.{layer}.mlp.down_proj",
    "layers.{layer}.ffn.norm": "encoder.layer.{layer}.mlp_ln",
}
_QKV = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
#: Of checkpoints whose config.json says "pack_qkv": false.
_APART = {name: source for name, source in _PACKED.items() if name != "layers.{layer}.attention.qkv"} | {
    f"layers.{{layer}}.attention.{part}": f"encoder.layer.{{layer}}.attention.{source}" for part, source in _QKV
}
_WITHIN = {
    **_EMBEDDINGS,
    **{f"layers.{{layer}}.attention.{part}": f"layers.{{layer}}.self_attn.{source}" for part, source in _QKV},
    "layers.{layer}.attention.output": "layers.{layer}.self_attn.o_proj",
    "layers.{layer}.attention.norm": "layers.{layer}.post_attention_layernorm",
    "layers.{layer}.ffn.gate": "layers.{layer}.mlp.gate_proj",
    "layers.{layer}.ffn.up": "layers.{layer}.mlp.up_proj",
    "layers.{layer}.ffn.down": "layers.{layer}.mlp.down_proj",
    "layers.{layer}.ffn.norm": "layers.{layer}.post_mlp_layernorm",
}

GTE = replace(
    BERT,
    model_type="gte",
    other_types=("new",),
    prefixes=("new.", "gte."),
    renamed={".layer_norm.weight": ".norm.weight", ".layer_norm.bias": ".norm.bias"},
    sizes={
        **BERT.sizes,
        "vocab_size": Key("vocab_size", 250048),
        "max_positions": Key("max_position_embeddings", 8192),
        "token_types": Key("type_vocab_size", 1),
    },
    must_be={
        # In transformers the head for masked words has GELU whatever this says, in the checkpoints' code it has not.
        "hidden_act": "gelu",
        "position_embedding_type": "rope",
        "layer_norm_type": "layer_norm",
        "logn_attention_scale": False,
        "logn_attention_clip1": False,
    },
    tensors=_PACKED,
    layouts=(_APART, _WITHIN),
    heads=heads(
        text_classification=classifier("pooler.dense", "tanh", "classifier"),
        fill_mask=masked_words("lm_head.dense", "gelu", "lm_head.norm", "lm_head.decoder"),
    ),
    architectures={**task_classes("Gte"), **task_classes("New")},
    unused=(r"embeddings\.position_ids", r"(pooler|classifier|qa_outputs|lm_head)\..*"),
    attention=_attention,
    gated=True,
    optional_biases=True,
    tokenizer="XLMRobertaTokenizer",
    code=r"(New|Gte)\w+",
)
