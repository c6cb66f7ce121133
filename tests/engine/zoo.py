"""Small models that between them have every part that a plan can have."""

from __future__ import annotations

from functools import cache

import numpy as np

from minibert.format import Table
from tests.models import RandomModel, random_model

SHAPES: dict[str, dict] = {
    "plain": {},
    "heads of 26": {"hidden_size": 312, "head_size": 26, "heads": 12, "ffn_size": 120, "layers": 1, "pooling": "mean"},
    "ones": {"hidden_size": 1, "head_size": 1, "heads": 1, "ffn_size": 1, "token_types": 1},
    "no token types": {"token_types": 0, "pooling": "max", "normalize": True},
    "factors": {"input_factor": True, "pooling": "last", "head": [(77, "none", False)]},
    "float32 tables": {"tables": "float32", "activation": "gelu_tanh", "head": [(2, "none", False)]},
    "pruned": {"heads": [1, 4, 2], "ffn_size": [16, 130, 77], "layers": 3, "activation": "relu"},
    "long": {"max_positions": 512, "layers": 1, "pooling": "mean", "normalize": True},
    "pooler": {"head": [(40, "tanh", False), (1, "none", False)]},
    "int4 tables": {"tables": "int4", "hidden_size": 56},
    "codebook of 4": {"tables": Table("codebook", 1, 4)},
    "codebook of 8": {"tables": Table("codebook", 1, 8), "head": [(2, "none", False)]},
    "head with norm": {"head": [(20, "gelu", True), (100, "relu", True), (3, "none", False)], "input_factor": True},
    "tokens": {"pooling": "none", "head": [(52, "gelu", True), (9, "none", False)]},
    "narrow embeddings": {"embedding_size": 20, "activation": "gelu_tanh"},
    "wide embeddings": {"embedding_size": 56, "input_factor": True},
    "narrow words": {"word_size": 20, "input_factor": True},
    "narrow words alone": {"word_size": 24, "tables": "int4", "position_table": False, "token_types": 0},
    "narrow words and embeddings": {"word_size": 10, "embedding_size": 20, "tables": Table("codebook", 1, 4)},
    "position bias": {"position_bias": True, "token_types": 0, "heads": [3, 5]},
    "relative": {"relative_rows": 30, "position_table": False, "token_types": 0, "heads": [3, 5], "head_size": 26},
    "relative, long": {"relative_rows": 90, "max_positions": 300, "layers": 1, "pooling": "mean"},
    "windows": {"windows": [3, 0, 16], "layers": 3, "max_positions": 300, "pooling": "mean"},
    "rotary": {"rotary_bases": [10000.0, 0.0], "position_table": False, "gated": True, "activation": "silu"},
    "scaled rotary": {"rotary_bases": [2.0], "rotary_frequencies": [[1.0, 0.25, 0.0, 3.5, 0.01]], "head_size": 10},
    "modern": {
        "rotary_bases": [160000.0, 10000.0, 10000.0],
        "windows": [0, 8, 64],
        "layers": 3,
        "max_positions": 300,
        "position_table": False,
        "token_types": 0,
        "pre_norm": True,
        "gated": True,
        "head_size": 26,
        "pooling": "none",
        "head": [(40, "gelu", True), (5, "none", False)],
    },
    "rms": {
        "norm": "rms",
        "pre_norm": True,
        "sum_of_embeddings": True,
        "rotary_bases": [10000.0, 10000.0],
        "position_table": False,
        "token_types": 0,
        "gated": True,
        "activation": "silu",
        "input_factor": True,
        "head": [(20, "gelu", True), (3, "none", False)],
    },
    "rms, biased": {"norm": "rms", "pre_norm": True, "sum_of_embeddings": True, "position_bias": True, "layers": 1},
    "late pooling": {
        "pooling": "mean",
        "head": [(20, "gelu", True), (33, "relu", False), (3, "none", False)],
        "pool_after": 2,
        "input_factor": True,
    },
    "latest pooling": {"pooling": "max", "head": [(20, "tanh", False)], "pool_after": 1, "normalize": True},
    "late pooling of first tokens": {"head": [(20, "gelu", True), (3, "none", False)], "pool_after": 1},
    "rms behind": {"norm": "rms", "hidden_size": 100, "pooling": "mean"},
    "norms ahead of all": {
        "pre_norm": True,
        "sum_of_embeddings": True,
        "word_size": 20,
        "pooling": "none",
        "head": [(9, "none", False)],
    },
    "tied": {"pooling": "none", "head": [(40, "gelu", True), (101, "none", False)], "tied": True},
    "narrow and tied": {
        "embedding_size": 20,
        "pooling": "none",
        "head": [(20, "gelu_tanh", True), (101, "none", False)],
        "tied": True,
    },
    "static": {"layers": 0, "position_table": False, "token_types": 0, "pooling": "mean", "normalize": True},
    "static codebook with head": {
        "layers": 0,
        "position_table": False,
        "token_types": 0,
        "pooling": "mean",
        "tables": Table("codebook", 1, 4),
        "head": [(20, "tanh", False), (3, "none", False)],
    },
    "pre-norm": {"pre_norm": True, "layers": 1},
    "low rank": {"low_rank": 5, "input_factor": True, "head": [(20, "gelu", True), (3, "none", False)]},
    "low rank, pruned": {"low_rank": 20, "heads": [1, 4], "ffn_size": [130, 77], "pooling": "mean"},
    "low rank, modern": {"low_rank": 16, "rotary_bases": [1e4], "pre_norm": True, "gated": True, "activation": "silu"},
    "hidden states": {"pooling": "none", "normalize": True},
    "all poolings": {"pooling": "cls+max+mean+mean_sqrt_length+weighted_mean+last", "hidden_size": 31},
    "two poolings and a head": {"pooling": "weighted_mean+cls", "head": [(20, "tanh", False), (5, "none", False)]},
    "a chain": {
        "pooling": "mean_sqrt_length",
        "head": ["norm", (33, "tanh", False), "normalize", "relu", (33, "none", True), "gelu", "normalize", "norm"],
        "normalize": True,
        "input_factor": True,
    },
    "a chain of tokens": {
        "pooling": "mean+max",
        "head": [
            "normalize",
            (24, "silu", False),
            "tanh",
            (24, "none", False),
            "norm",
            "normalize",
            (7, "none", False),
        ],
        "pool_after": 4,
    },
    "mixed layers": {"layer_weights": [0.0, -0.5, 1.25], "pooling": "cls"},
    "mixed layers, modern": {"layer_weights": [0.5, 0.25, 0.25], "pre_norm": True, "gated": True, "pooling": "max"},
    "mixed layers, root mean squares": {
        "layer_weights": [0.5, 0.25, 0.25],
        "pre_norm": True,
        "norm": "rms",
        "sum_of_embeddings": True,
        "pooling": "mean",
        "head": ["norm", (30, "tanh", True)],
    },
}
LENGTHS = [1, 2, 64, 5, 17, 33, 16, 1, 48, 3, 64, 64, 31, 8]


def lengths_of(model: RandomModel) -> list[int]:
    """Texts of many lengths, in more than one chunk; the longest that the model takes among them."""
    most = model.config.architecture.max_positions
    return [*LENGTHS, most, 1] if most > 64 else LENGTHS


def mixed(name: str) -> str:
    """Kinds of linears such that every change from one kind to the other occurs."""
    return "float32" if name in ("layers.0.ffn.up", "layers.1.attention.qkv", "head.0") else "int8"


@cache
def zoo(name: str, kind: str) -> RandomModel:
    """A model of SHAPES whose linears are all "int8", all "float32", or "mixed"; it must stay as it is."""
    return random_model(mixed if kind == "mixed" else kind, **SHAPES[name])


@cache
def numpy_answers(name: str, kind: str) -> np.ndarray:
    """What the NumPy engine says to the model's texts of all lengths: the same for every instruction set."""
    model = zoo(name, kind)
    answers = model.engine(backend="numpy").forward(*model.texts(lengths_of(model)))
    answers.flags.writeable = False
    return answers
