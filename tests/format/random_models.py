"""Small random models over all that the format knows: kinds of matrices and tables, heads, tasks and features."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import numpy as np

from minibert.format import Config, padded
from minibert.format.constants import BLOCK_KINDS, FOUR_BIT_KINDS
from minibert.format.record import as_json
from tests.format.models import make_tensors
from tests.format.tokenizers import NAMES, VOCAB_SIZE, small_tables, tensors_of
from tests.tiny import VOCABULARY, tokenizer_json

KINDS = ("int8", "int8-4x4", "int4", "int4-4x4", "codebook", "float32")
TABLE_KINDS = ("float32", "int8", "int4", "codebook")
TASKS = (
    "text-classification",
    "sentence-embedding",
    "token-classification",
    "question-answering",
    "fill-mask",
    "multi-vector",
)
ACTIVATIONS = ("none", "gelu", "gelu_tanh", "relu", "silu", "tanh")
_ROTARIES = 2
HEAD_NAMES = ("head.dense", "head.output", "head.projection.0", "head.projection.1", "head.a", "head.b")


def random_linear(rng: random.Random, inputs: int, outputs: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    """A linear of one of the kinds, with whatever that kind has."""
    linear: dict[str, Any] = {"kind": rng.choice(kinds), "in_features": inputs, "out_features": outputs}
    if linear["kind"] in BLOCK_KINDS:
        linear["blocks"] = int(-(-outputs // 4) * (inputs // 4) * rng.choice([0, 0.05, 0.3, 0.9, 1]))
    if linear["kind"] == "int4":
        linear["group_size"] = rng.choice([4, 12, 32, 1024])
    if linear["kind"] in FOUR_BIT_KINDS and rng.random() < 0.5:
        linear["weight_sum"] = True
    if linear["kind"] != "float32" and rng.random() < 0.3:
        linear["input_factor"] = True
    return linear


def random_config(rng: random.Random) -> dict[str, Any]:
    """The JSON of a config that the format takes."""
    kinds = ("float32",) if rng.random() < 0.2 else KINDS if rng.random() < 0.2 else KINDS[:-1]
    task, hidden, head_size = rng.choice(TASKS), rng.choice([1, 16, 24, 40, 64]), rng.choice([1, 2, 12, 16, 33, 64])
    pooled = task in TASKS[:1] or (task == "sentence-embedding" and rng.random() < 0.8)
    style = rng.choice(["plain", "plain", "plain", "rotary", "window", "rotary window", "bias", "relative"])
    architecture: dict[str, Any] = {
        "model_type": "bert",
        "hidden_size": hidden,
        "head_size": head_size,
        "vocab_size": rng.choice([len(VOCABULARY), len(VOCABULARY), 17, 130]),
        "max_positions": rng.choice([1, 15, 16, 24, 24, 65, 200, 300]),
        "token_types": rng.choice([0, 1, 2, 2]),
        "layer_norm_eps": rng.choice([1e-12, 1e-5, 1.0]),
        "activation": rng.choice(ACTIVATIONS),
        "layers": [_layer(rng, style, head_size) for _ in range(rng.randint(1, 3))],
        "rotary_frequencies": [[rng.choice([0, 1, 0.3, 1024]) for _ in range(head_size // 2)] for _ in range(_ROTARIES)]
        if "rotary" in style and head_size % 2 == 0
        else [],
        "pooling": _pooling(rng) if pooled else "none",
        "normalize": rng.random() < 0.2,
        "position_bias": style == "bias",
        "relative_rows": rng.choice([1, 2, 30, 200]) if style == "relative" else 0,
        "position_table": rng.random() < 0.8,
        "gated": rng.random() < 0.2,
        "pre_norm": rng.random() < 0.2,
        "embedding_size": rng.choice([0, 0, 0, 1, 24, 48]),
        "word_size": rng.choice([0, 0, 0, 8, 32]),
        "norm": rng.choice(["layer", "layer", "rms"]),
    }
    if architecture["pre_norm"] and not architecture["embedding_size"]:
        architecture["sum_of_embeddings"] = rng.random() < 0.5
    if pooled and rng.random() < 0.1:
        architecture |= {"layers": [], "token_types": 0, "position_table": False, "embedding_size": 0, "word_size": 0}
        architecture |= {"position_bias": False, "relative_rows": 0, "gated": False, "pre_norm": False}
        architecture |= {"sum_of_embeddings": False, "norm": "layer", "rotary_frequencies": []}
    config = {
        "architecture": architecture,
        "task": {"kind": task},
        "text": {"max_length": rng.randint(max(1, architecture["max_positions"] // 2), architecture["max_positions"])},
        "linears": {},
        "tables": {},
        "aliases": {},
    }
    if not architecture["layers"]:
        ids = [-1, *range(architecture["vocab_size"])]
        config["text"] |= {"ignored_id": rng.choice(ids), "empty_id": rng.choice(ids)}
        config["text"]["characters_per_token"] = rng.choice([0, 1, 6])
    if pooled and architecture["layers"] and rng.random() < 0.2:
        architecture["layer_weights"] = [rng.choice([0, 0.5, -3, 1]) for _ in architecture["layers"]] + [1]
    elif pooled and style == "plain" and "weighted" not in architecture["pooling"]:
        for layer in architecture["layers"]:
            layer["keep_tokens"] = rng.choice([1, 1, 1, 1e-6, 0.3, 0.9])
    if task == "multi-vector":
        config["task"] |= {
            "similarity": "maxsim",
            "query": _side(rng, architecture),
            "document": _side(rng, architecture),
        }
    if task == "text-classification" and rng.random() < 0.3:
        config["task"] |= {"other": "none of them", "other_below": rng.choice([0.5, 1, 1e-9])}
    _add_tokens(rng, config)
    _add_linears(rng, config, kinds)
    _add_tables(rng, config)
    if architecture["layers"] and rng.random() < 0.3:
        _share(rng, config)
    return config


def _add_tokens(rng: random.Random, config: dict[str, Any]) -> None:
    """Here and there the tokenizer is tables; the larger ones need more words."""
    architecture = config["architecture"]
    if architecture["layers"] and rng.random() < 0.1:
        architecture["vocab_size"] = VOCAB_SIZE
    if rng.random() < 0.5 and architecture["vocab_size"] >= len(VOCABULARY):
        name = rng.choice(NAMES) if architecture["vocab_size"] == VOCAB_SIZE else "bert"
        config["text"]["tables"] = as_json(small_tables(name, architecture["vocab_size"]).tokenization)


def tokenizer_of(config: dict[str, Any]) -> str:
    """What the file of a config that was not spoiled yet holds as tokenizer.json."""
    tables = Config.from_json(config).text.tables
    return tokenizer_json() if tables is None else tensors_of(tables, config["architecture"]["vocab_size"])[1]


def _pooling(rng: random.Random) -> str:
    kinds = ["cls", "mean", "max", "last", "weighted_mean", "mean_sqrt_length"]
    return "+".join(rng.sample(kinds, rng.choice([1, 1, 1, 2, 3])))


def _side(rng: random.Random, architecture: dict[str, Any]) -> dict[str, Any]:
    most, ids = architecture["max_positions"], range(architecture["vocab_size"])
    attend = architecture["relative_rows"] > 0 or any("window" in layer for layer in architecture["layers"])
    side = {"max_length": rng.randint(1, most), "prefix": rng.choice([None, *ids]), "skip": rng.sample(ids, 3)}
    return side | {"fill_to": rng.randint(0, most), "fill_token": rng.choice(ids), "attend_to_fill": attend}


def _layer(rng: random.Random, style: str, head_size: int) -> dict[str, Any]:
    layer: dict[str, Any] = {"num_heads": rng.randint(1, 3), "ffn_size": rng.choice([1, 16, 30, 64, 100])}
    if "window" in style:
        layer["window"] = rng.choice([1, 7, 16, 64, 1000])
    if "rotary" in style and head_size % 2 == 0:
        layer |= rng.choice([{"rotary_base": 2.0}, {"rotary_base": 10000.0}, {"rotary": 1}, {"rotary": _ROTARIES}])
    return layer


def _add_linears(rng: random.Random, config: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """Everything that the architecture calls for, here and there with a low-rank part, and its head and exits."""
    architecture, linears = config["architecture"], config["linears"]
    hidden, head_width = architecture["hidden_size"], padded(architecture["head_size"])

    def add(name: str, inputs: int, outputs: int, ranked: bool = True) -> None:
        linears[name] = random_linear(rng, padded(inputs), outputs, kinds)
        if ranked and rng.random() < 0.15:
            alike = ("float32",) if linears[name]["kind"] == "float32" else KINDS[:-1]
            rank = rng.choice([1, 5, 16, 20])
            linears[f"{name}.low_rank.down"] = random_linear(rng, padded(inputs), rank, alike) | {"input_factor": False}
            linears[f"{name}.low_rank.up"] = random_linear(rng, padded(rank), outputs, alike)

    if architecture["word_size"]:
        add("embeddings.word_projection", architecture["word_size"], architecture["embedding_size"] or hidden, False)
    if architecture["embedding_size"]:
        add("embeddings.projection", architecture["embedding_size"], hidden)
    for number, layer in enumerate(architecture["layers"]):
        attention, gated = layer["num_heads"] * head_width, architecture["gated"]
        add(f"layers.{number}.attention.qkv", hidden, 3 * attention)
        add(f"layers.{number}.attention.output", attention, hidden)
        add(f"layers.{number}.ffn.up", hidden, 2 * padded(layer["ffn_size"]) if gated else layer["ffn_size"], not gated)
        add(f"layers.{number}.ffn.down", layer["ffn_size"], hidden)
    task, width = config["task"], hidden
    names = rng.sample(HEAD_NAMES, rng.randint(task["kind"] != "sentence-embedding", 3 if rng.random() < 0.9 else 6))
    pools = 1 + architecture["pooling"].count("+")
    pools_late = architecture["pooling"] != "none" and architecture["layers"]
    architecture["pool_after"] = rng.randint(0, len(names)) if pools_late else 0
    architecture["head"] = []
    for place, name in enumerate(names):
        width *= pools if place == architecture["pool_after"] else 1
        if place < len(names) - 1 and rng.random() < 0.2:
            kind = rng.choice(["norm", "normalize"])
            architecture["head"].append({"name": name, "kind": kind} | ({"eps": 1e-5} if kind == "norm" else {}))
            continue
        outputs = rng.choice([1, 2, 3, 16, 33, 200])
        if place == len(names) - 1:
            outputs = {"question-answering": 2, "fill-mask": architecture["vocab_size"]}.get(task["kind"], outputs)
        norm = rng.random() < 0.2
        layer = {"name": name, "activation": rng.choice(ACTIVATIONS), "norm": norm}
        architecture["head"].append(layer | ({"residual": True} if outputs == width and not norm else {}))
        add(name, width, outputs)
        width = outputs
    width *= pools if architecture["pool_after"] == len(names) else 1
    leaving = any(layer.get("keep_tokens", 1) < 1 for layer in architecture["layers"])
    if (
        task["kind"] == "sentence-embedding"
        and architecture["pooling"] != "none"
        and not leaving
        and rng.random() < 0.5
    ):
        names = rng.sample(("tokens.vectors", "tokens.weights"), rng.randint(0, 2)) if architecture["layers"] else []
        architecture["token_heads"] = [
            {"name": name, "activation": rng.choice(ACTIVATIONS), "normalize": rng.random() < 0.5} for name in names
        ]
        for name in names:
            add(name, hidden, 1 if name == "tokens.weights" else rng.choice([1, 16, 33, 200]), False)
    if task["kind"] in ("text-classification", "token-classification"):
        task["labels"] = [f"label {number}" for number in range(width)]
    exits = len(architecture["layers"]) - 1
    leaves = exits > 0 and "layer_weights" not in architecture
    if task["kind"] == "text-classification" and leaves and not architecture["pre_norm"] and rng.random() < 0.5:
        architecture["exits"] = [
            {"after": after, "threshold": rng.choice([1e-300, 0.3, 0.6, 1.0])}
            for after in sorted(rng.sample(range(exits), rng.randint(1, exits)))
        ]
        for early in architecture["exits"]:
            add(f"exits.{early['after']}", hidden, width, False)


def _add_tables(rng: random.Random, config: dict[str, Any]) -> None:
    architecture, tables = config["architecture"], config["tables"]
    panels = ("float32-panels", "int8-panels")
    for name, rows, there, more in (
        ("word", architecture["vocab_size"], True, panels),
        ("position", architecture["max_positions"], architecture["position_table"], ()),
        ("token_type", architecture["token_types"], architecture["token_types"], ()),
    ):
        if there:
            table = {"kind": rng.choice(TABLE_KINDS + more), "rows": rows}
            if table["kind"] == "codebook":
                table["subvector_size"] = rng.choice([4, 8, 16])
            tables[f"embeddings.{name}"] = table


def _share(rng: random.Random, config: dict[str, Any]) -> None:
    """All layers, or their matrices, become the first one."""
    architecture, linears = config["architecture"], config["linears"]
    architecture["layers"] = [architecture["layers"][0]] * len(architecture["layers"])
    for name in [name for name in linears if name.startswith("layers.") and not name.startswith("layers.0.")]:
        del linears[name]
    first = {name: linear for name, linear in linears.items() if name.startswith("layers.0.")}
    parts = rng.choice([("weight",), ("weight", "scale", "weight_sum", "bias"), ("blocks", "index", "starts", "codes")])
    for number in range(1, len(architecture["layers"])):
        for name, linear in first.items():
            own = name.replace("layers.0", f"layers.{number}", 1)
            linears[own] = dict(linear)
            for part in parts:
                has = {"int8": ("weight",), "float32": ("weight",), "int8-4x4": ("blocks", "index", "starts")}
                has["int4-4x4"] = ("codes", "index", "starts")
                known = (*has.get(linear["kind"], ("codes",)), "bias")
                int8 = linear["kind"] in ("int8", *BLOCK_KINDS)
                summed = int8 or linear.get("weight_sum", False)
                if part in known or (part == "scale" and int8) or (part == "weight_sum" and summed):
                    config["aliases"][f"{own}.{part}"] = f"{name}.{part}"


def file_of(config: dict[str, Any], seed: int, tokenizer: str | None = None) -> tuple[dict[str, Any], bytes]:
    """A header and the data behind it, with random tensors for a config that the format takes.

    Raises:
        FormatError: it doesn't.
    """
    tensors = make_tensors(Config.from_json(config), seed)
    text = tokenizer_of(config) if tokenizer is None else tokenizer
    tensors["tokenizer.json"] = np.frombuffer(zlib.compress(text.encode("utf-8", "replace"), 1), np.uint8)
    dtypes = {"float32": "F32", "int32": "I32", "uint16": "U16", "int8": "I8", "uint8": "U8"}
    header: dict[str, Any] = {"__metadata__": {"format": "minibert", "version": "1", "config": json.dumps(config)}}
    data, position = [], 0
    for name, tensor in tensors.items():
        parts = [(name, tensor)]
        if name != "tokenizer.json" and (missing := -tensor.nbytes % 64):
            parts.append((f"{name}.padding", np.zeros(missing // tensor.itemsize, tensor.dtype)))
        for part, values in parts:
            end = position + values.nbytes
            header[part] = {
                "dtype": dtypes[values.dtype.name],
                "shape": list(values.shape),
                "data_offsets": [position, end],
            }
            data.append(values.tobytes())
            position = end
    return header, b"".join(data)


def bytes_of(header: dict[str, Any], data: bytes) -> bytes:
    """The file."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + data
