"""jina-embeddings-v3 (Sturua et al. 2024, arXiv 2409.10173) as transformers has it: XLM-RoBERTa with rotary positions.

The table is that of the model without its adapters, one for each task.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.families.roberta import XLM_ROBERTA
from minibert_converter.checkpoints.family import Attention, task_classes
from minibert_converter.checkpoints.rotary import read_rotary
from minibert_converter.checkpoints.sizes import Sizes


def _attention(config: ConfigFile, sizes: Sizes) -> Attention:
    return [(0, read_rotary(config, sizes, "rope_theta", 20000.0))] * sizes.num_layers


_EMBEDDINGS = {
    name: XLM_ROBERTA.tensors[name] for name in ("embeddings.word", "embeddings.token_type", "embeddings.norm")
}
#: What transformers has within, and `save_pretrained(..., save_original_format=False)` writes.
_WITHIN = {
    **_EMBEDDINGS,
    "layers.{layer}.attention.query": "layers.{layer}.self_attn.q_proj",
    "layers.{layer}.attention.key": "layers.{layer}.self_attn.k_proj",
    "layers.{layer}.attention.value": "layers.{layer}.self_attn.v_proj",
    "layers.{layer}.attention.output": "layers.{layer}.self_attn.o_proj",
    "layers.{layer}.attention.norm": "layers.{layer}.post_attention_layernorm",
    "layers.{layer}.ffn.up": "layers.{layer}.mlp.fc1",
    "layers.{layer}.ffn.down": "layers.{layer}.mlp.fc2",
    "layers.{layer}.ffn.norm": "layers.{layer}.post_mlp_layernorm",
}

JINA_EMBEDDINGS_V3 = replace(
    XLM_ROBERTA,
    model_type="jina_embeddings_v3",
    sizes={
        "hidden_size": Key("hidden_size", 1024),
        "num_layers": Key("num_hidden_layers", 24),
        "num_heads": Key("num_attention_heads", 16),
        "ffn_size": Key("intermediate_size", 4096),
        "vocab_size": Key("vocab_size", 250002),
        "max_positions": Key("max_position_embeddings", 8194),
        "token_types": Key("type_vocab_size", 1),
    },
    layer_norm_eps=Key("layer_norm_eps", 1e-5),
    must_be={},
    tensors={
        **_EMBEDDINGS,
        "embeddings.norm": "emb_ln",
        "layers.{layer}.attention.qkv": "encoder.layers.{layer}.mixer.Wqkv",
        "layers.{layer}.attention.output": "encoder.layers.{layer}.mixer.out_proj",
        "layers.{layer}.attention.norm": "encoder.layers.{layer}.norm1",
        "layers.{layer}.ffn.up": "encoder.layers.{layer}.mlp.fc1",
        "layers.{layer}.ffn.down": "encoder.layers.{layer}.mlp.fc2",
        "layers.{layer}.ffn.norm": "encoder.layers.{layer}.norm2",
    },
    layouts=(_WITHIN,),
    architectures=task_classes("JinaEmbeddingsV3"),
    padding_id=None,
    attention=_attention,
)
