"""Folders of sentence-transformers whose modules stand in any order, and what tests/golden/make_chains.py asks them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json

#: Heads of 20 features, none of whose sizes is a multiple of 16.
_SIZES = {"hidden_size": 60, "intermediate_size": 50, "max_position_embeddings": 40, "architectures": ["BertModel"]}
PROMPTS = {"query": "what is this", "document": "a big xyz "}
TEXTS = ["the bank card was good", "", "play", "what time is it, how can you pay with this? " * 6, "a [SEP] b"]

#: A module: its kind, and what its config.json says.
Module = tuple[str, dict[str, Any]]


def dense(inputs: int, outputs: int, activation: str = "activation.Tanh", **values: Any) -> Module:
    sizes = {"in_features": inputs, "out_features": outputs}
    return "Dense", {**sizes, "bias": True, "activation_function": f"torch.nn.modules.{activation}", **values}


def pooling(*modes: str, **values: Any) -> Module:
    return "Pooling", {"word_embedding_dimension": 60, "pooling_mode": list(modes)} | values


def mixing(start: int) -> Module:
    return "WeightedLayerPooling", {"word_embedding_dimension": 60, "layer_start": start, "num_hidden_layers": 2}


IDENTITY, TOKENS = "linear.Identity", {"module_input_name": "token_embeddings"}
NORM, NORMALIZE = ("LayerNorm", {"dimension": 44}), ("Normalize", {})
POOLINGS = ("weightedmean", "cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens")
FLAGS = ("pooling_mode_mean_tokens", "pooling_mode_lasttoken", "pooling_mode_cls_token")
#: What stands behind a Transformer.
CHAINS: dict[str, list[Module]] = {
    "weightedmean": [pooling("weightedmean")],
    "mean_sqrt_len_tokens": [pooling("mean_sqrt_len_tokens")],
    "every pooling": [pooling(*POOLINGS)],
    "flags": [("Pooling", {"word_embedding_dimension": 60} | dict.fromkeys(FLAGS, True))],
    "without the prompt": [pooling(*POOLINGS, include_prompt=False)],
    "first token without the prompt": [pooling("cls", include_prompt=False), NORMALIZE],
    "normalized before": [
        pooling("mean"),
        NORMALIZE,
        dense(60, 20, "activation.SiLU"),
        dense(20, 9, "activation.ReLU"),
    ],
    "normalized twice": [pooling("mean"), NORMALIZE, NORMALIZE],
    "a long chain": [
        *(pooling("mean", "max"), dense(120, 44), NORM, ("Dropout", {"dropout": 0.5}), NORMALIZE),
        dense(44, 44, "activation.GELU", use_residual=True),
        dense(44, 12, IDENTITY, use_residual=True, bias=False),
        NORMALIZE,
    ],
    "tokens": [
        *(dense(60, 24, **TOKENS), ("Normalize", TOKENS), pooling("mean", "weightedmean")),
        dense(48, 7, "activation.SiLU"),
    ],
    "all layers": [mixing(1), pooling("mean", "cls")],
    "all layers and the embeddings": [mixing(0), dense(60, 16, IDENTITY, **TOKENS), pooling("max"), NORMALIZE],
}


def write_chain(folder: Path, modules: Sequence[Module]) -> Path:
    """A folder as sentence-transformers saves it, random weights; layers are kept if a module adds them up."""
    kept = any(kind == "WeightedLayerPooling" for kind, _ in modules)
    write_encoder(folder, **({"output_hidden_states": True} if kept else {}))
    entries = [entry("Transformer", "")]
    for number, (kind, values) in enumerate(modules, 1):
        entries.append(entry(kind, f"{number}_{kind}"))
        write_module(folder / entries[-1]["path"], kind, values, number)
    write_json(folder / "modules.json", entries)
    write_json(folder / "config_sentence_transformers.json", {"prompts": PROMPTS, "similarity_fn_name": "cosine"})
    return folder


def write_encoder(folder: Path, **values: Any) -> Path:
    config = {**CONFIG, **_SIZES, **values}
    write_checkpoint(folder, config, bert_weights(config, None, seed=4))
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32})
    return folder


def entry(kind: str, path: str) -> dict[str, Any]:
    """A module's line in modules.json."""
    return {"idx": 0, "name": path or "0", "path": path, "type": f"sentence_transformers.models.{kind}"}


def write_module(folder: Path, kind: str, values: dict[str, Any], seed: int) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "config.json", values)
    random = np.random.RandomState(seed)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    weights = {}
    if kind == "Dense":
        inputs, outputs = values["in_features"], values["out_features"]
        weights["linear.weight"] = noise(outputs, inputs) / np.float32(inputs**0.5)
        if values["bias"]:
            weights["linear.bias"] = noise(outputs)
        if values.get("use_residual") and inputs != outputs:
            weights["residual.weight"] = noise(outputs, inputs) / np.float32(inputs**0.5)
    elif kind == "LayerNorm":
        weights = {"norm.weight": 1 + noise(values["dimension"]) / 4, "norm.bias": noise(values["dimension"])}
    elif kind == "WeightedLayerPooling":
        weights["layer_weights"] = 1 + noise(values["num_hidden_layers"] + 1 - values["layer_start"])
    if weights:
        save_file(weights, folder / "model.safetensors")


def write_router(folder: Path, name: str = "Router") -> Path:
    """Two encoders, of which queries take one and documents the other, and what both have behind it."""
    file = "router_config.json" if name == "Router" else "config.json"
    routes = {
        "query": [("Transformer", {}), pooling("cls")],
        "document": [("Transformer", {}), pooling("mean"), dense(60, 60)],
    }
    types, structure = {}, {}
    for seed, (route, modules) in enumerate(routes.items()):
        structure[route] = [f"{route}_{number}_{kind}" for number, (kind, _) in enumerate(modules)]
        for path, (kind, values) in zip(structure[route], modules, strict=True):
            types[path] = f"sentence_transformers.models.{kind}"
            if kind == "Transformer":
                write_encoder(folder / path)
            else:
                write_module(folder / path, kind, values, seed)
    parameters = (
        {"default_route": "document", "allow_empty_key": True} if name == "Router" else {"allow_empty_key": True}
    )
    write_json(folder / file, {"types": types, "structure": structure, "parameters": parameters})
    write_module(folder / "1_Normalize", "Normalize", {}, 0)
    write_json(folder / "modules.json", [entry(name, ""), entry("Normalize", "1_Normalize")])
    return folder


def thinned(rows: np.ndarray) -> np.ndarray:
    """What of vectors is recorded: every fifth number of long ones."""
    return rows[:, ::5] if rows.shape[1] > 50 else rows
