"""Small checkpoints in Hugging Face's format, made of seeded noise: every weight differs from 0 and 1.

The generator is NumPy's RandomState, whose streams are promised never to change, so that expected outputs made once by
transformers (tests/golden) hold for the checkpoint that a test makes years later.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

#: Odd sizes on purpose: nothing is a multiple of 64, and the vocabulary and the FFN are none of 16.
CONFIG: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 96,
    "id2label": {"0": "bad", "1": "so-so", "2": "good"},
    "intermediate_size": 100,
    "label2id": {"bad": 0, "so-so": 1, "good": 2},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": 203,
}

TOKENIZER_CONFIG: dict[str, Any] = {"do_lower_case": True, "model_max_length": 48, "tokenizer_class": "BertTokenizer"}

WORDS = (
    "the a an of to and in is it was i you he she they not no yes very good bad great poor movie film book card bank "
    "money day night time water plays played playing man woman people old new big small house river what when where "
    "who how why can do does my your this that with for on at from by all one two three more most other some than then "
    "now only its over also back after use work first well way even want any give us"
)


def vocabulary(size: int = 203) -> list[str]:
    """Special tokens, letters and their continuations, then words, then unused ones up to `size`."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, *".,!?'-0123456789"]
    tokens += [f"##{letter}" for letter in string.ascii_lowercase] + ["##ing", "##ed"]
    tokens += [word for word in WORDS.split() if word not in tokens]
    tokens += [f"[unused{index}]" for index in range(size - len(tokens))]
    return tokens[:size]


def bert_weights(config: dict[str, Any], labels: int | None = 3, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights by transformers' names, float32; with a classifier of so many labels, or the bare encoder for None."""
    random = np.random.RandomState(seed)
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    weights: dict[str, np.ndarray] = {}

    def noise(name: str, *shape: int, scale: float, mean: float = 0.0) -> None:
        weights[name] = (mean + scale * random.standard_normal(shape)).astype(np.float32)

    def linear(name: str, out: int, inputs: int) -> None:
        noise(f"{name}.weight", out, inputs, scale=1.5 / np.sqrt(inputs))
        noise(f"{name}.bias", out, scale=0.1)

    def norm(name: str) -> None:
        noise(f"{name}.weight", hidden, scale=0.2, mean=1.0)
        noise(f"{name}.bias", hidden, scale=0.2)

    prefix = "" if labels is None else "bert."
    rows = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    for table, key in rows.items():
        noise(f"{prefix}embeddings.{table}_embeddings.weight", config[key], hidden, scale=0.5)
    norm(f"{prefix}embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        base = f"{prefix}encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{base}.attention.self.{part}", hidden, hidden)
        linear(f"{base}.attention.output.dense", hidden, hidden)
        norm(f"{base}.attention.output.LayerNorm")
        linear(f"{base}.intermediate.dense", ffn, hidden)
        linear(f"{base}.output.dense", hidden, ffn)
        norm(f"{base}.output.LayerNorm")
    linear(f"{prefix}pooler.dense", hidden, hidden)
    if labels is not None:
        linear("classifier", labels, hidden)
    return weights


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_tokenizer(folder: Path, tokens: list[str]) -> None:
    """vocab.txt and its config: the converter builds the tokenizer from them."""
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)


def write_checkpoint(
    folder: Path, config: dict[str, Any] | None = None, weights: dict[str, np.ndarray] | None = None
) -> Path:
    """A whole folder: config.json, model.safetensors, vocab.txt, tokenizer_config.json."""
    config = CONFIG if config is None else config
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    save_file(bert_weights(config) if weights is None else weights, folder / "model.safetensors", {"format": "pt"})
    write_tokenizer(folder, vocabulary(config["vocab_size"]))
    return folder
