"""DeBERTa (He et al. 2020, arXiv 2006.03654), v2 and v3 (arXiv 2111.09543): attention asks where tokens stand.

Of every layer's tables of keys and queries of distances the checkpoint has the factors: embeddings of distances, and
the matrices that they are multiplied with. Nothing else reads these embeddings, so the file has the products.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import UnsupportedError
from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import RelativePositions, classifier, heads, masked_words, task_classes
from minibert_converter.checkpoints.sizes import Sizes

#: What a checkpoint may ask for beside that -> what is understood, and transformers' value where nothing is said.
_MUST_BE = {
    "relative_attention": (True, False),
    "position_biased_input": (False, True),
    "talking_head": (False, False),
    "conv_kernel_size": (0, 0),
}
_SELF = "encoder.layer.{layer}.attention.self"


def _check(config: ConfigFile, sizes: Sizes) -> None:
    """Raise UnsupportedError for the variants of DeBERTa that no checkpoint of Microsoft's base or large models is."""
    for name, (understood, default) in _MUST_BE.items():
        if (value := config.values.get(name, default)) != understood:
            raise UnsupportedError(f"{config.path}: {name} is {value!r:.40}; only {understood!r} is supported")
    kinds = config.values.get("pos_att_type")
    said = [kind.strip() for kind in kinds.lower().split("|")] if isinstance(kinds, str) else kinds
    if not isinstance(said, list) or sorted(map(str, said)) != ["c2p", "p2c"]:
        raise UnsupportedError(f"{config.path}: pos_att_type is {kinds!r:.60}; only c2p with p2c is supported")
    dues = {"embedding_size": sizes.hidden_size, "attention_head_size": sizes.head_size}
    for name, due in dues.items():
        if config.values.get(name, due) != due:
            raise UnsupportedError(
                f"{config.path}: {name} is {config.values[name]!r:.40}; only {due} is supported here"
            )


def _span(config: ConfigFile, max_positions: int) -> int:
    """The furthest distance that has an embedding of its own, without buckets."""
    span = config.values.get("max_relative_positions", -1)
    if type(span) is not int:
        raise config.wrong("max_relative_positions", "a whole number")
    return span if span >= 1 else max_positions


def _buckets(distance: np.ndarray, buckets: int, span: int) -> np.ndarray:
    """Half of the buckets are for one distance each; the others grow like a logarithm up to the span."""
    half = buckets // 2
    size = np.maximum(np.abs(distance), half).astype(np.float32) / np.float32(half)
    steps = np.ceil(np.log(size) / np.log(np.float32((span - 1) / half)) * np.float32(half - 1))
    return np.where(np.abs(distance) <= half, distance, np.sign(distance) * (steps.astype(np.int64) + half))


def _relative(config: ConfigFile, sizes: Sizes) -> RelativePositions:
    """v2 and v3: buckets of distances, and Q's and K's own matrices if these are shared."""
    _check(config, sizes)
    max_positions = sizes.max_positions
    rows = span = _span(config, max_positions)
    distance = np.arange(1 - max_positions, max_positions)
    buckets = config.values.get("position_buckets", -1)
    if type(buckets) is not int:
        raise config.wrong("position_buckets", "a whole number")
    if buckets > 0:
        if not 4 <= buckets <= span:
            raise UnsupportedError(f"{config.path}: position_buckets is {buckets}; supported are 4 to {span}")
        distance, rows = _buckets(distance, buckets, span), buckets
    shared = config.flag(Key("share_att_key", False))
    norms = config.values.get("norm_rel_ebd", "none")
    if not isinstance(norms, str) or norms.strip().lower() not in ("none", "layer_norm"):
        raise UnsupportedError(f"{config.path}: norm_rel_ebd is {norms!r:.40}; supported are none, layer_norm")
    return RelativePositions(
        rows=2 * rows,
        row_of=np.clip(distance + rows, 0, 2 * rows - 1).astype(np.int32),
        table="encoder.rel_embeddings",
        norm="encoder.LayerNorm" if norms.strip().lower() == "layer_norm" else None,
        key=f"{_SELF}.key_proj" if shared else f"{_SELF}.pos_key_proj",
        query=f"{_SELF}.query_proj" if shared else f"{_SELF}.pos_query_proj",
    )


def _relative_v1(config: ConfigFile, sizes: Sizes) -> RelativePositions:
    """The first DeBERTa: a row for each distance up to the span, and matrices for them alone."""
    _check(config, sizes)
    max_positions = sizes.max_positions
    rows = _span(config, max_positions)
    distance = np.arange(1 - max_positions, max_positions)
    return RelativePositions(
        rows=2 * rows,
        row_of=np.clip(distance + rows, 0, 2 * rows - 1).astype(np.int32),
        table="encoder.rel_embeddings",
        norm=None,
        key=f"{_SELF}.pos_proj",
        query=f"{_SELF}.pos_q_proj",
    )


DEBERTA_V2 = replace(
    BERT,
    model_type="deberta-v2",
    prefixes=("deberta.",),
    sizes={
        **BERT.sizes,
        "hidden_size": Key("hidden_size", 1536),
        "num_layers": Key("num_hidden_layers", 24),
        "num_heads": Key("num_attention_heads", 24),
        "ffn_size": Key("intermediate_size", 6144),
        "vocab_size": Key("vocab_size", 128100),
        "token_types": Key("type_vocab_size", 0),
    },
    layer_norm_eps=Key("layer_norm_eps", 1e-7),
    must_be={},
    tensors={
        name: source.replace(".self.query", ".self.query_proj")
        .replace(".self.key", ".self.key_proj")
        .replace(".self.value", ".self.value_proj")
        for name, source in BERT.tensors.items()
        if name != "embeddings.position"
    },
    heads=heads(
        text_classification=classifier("pooler.dense", Key("pooler_hidden_act", "gelu"), "classifier"),
        fill_mask=replace(
            masked_words(
                "cls.predictions.transform.dense",
                Key("hidden_act", "gelu"),
                "cls.predictions.transform.LayerNorm",
                "cls.predictions.decoder",
                bias="cls.predictions.bias",
            ),
            must_be={"legacy": True},
        ),
    ),
    architectures=task_classes("DebertaV2"),
    unused=(
        r"embeddings\.(position_ids|position_embeddings\.weight)",
        r"(pooler|cls|classifier|qa_outputs|lm_predictions|mask_predictions)\..*",
    ),
    relative=_relative,
    tokenizer="DebertaV2Tokenizer",
)

DEBERTA = replace(
    DEBERTA_V2,
    model_type="deberta",
    renamed={**BERT.renamed, ".self.q_bias": ".self.query.bias", ".self.v_bias": ".self.value.bias"},
    sizes={**BERT.sizes, "vocab_size": Key("vocab_size", 50265), "token_types": Key("type_vocab_size", 0)},
    tensors={
        **{name: source for name, source in DEBERTA_V2.tensors.items() if ".self." not in source},
        "layers.{layer}.attention.qkv": f"{_SELF}.in_proj",
    },
    qkv_by_head=True,
    biases_by_head=(f"{_SELF}.query.bias", f"{_SELF}.value.bias"),
    architectures=task_classes("Deberta"),
    relative=_relative_v1,
    tokenizer="DebertaTokenizer",
)
