"""Small checkpoints with the heads of each task, and what tests/golden/make_pipelines.py asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints import CONFIG, bert_weights, write_checkpoint

ENTITIES = ("O", "B-person", "I-person", "B-place", "I-place")
RELATIONS = ("contradiction", "neutral", "entailment")
CANDIDATES = ["water", "money 💰", "a good film"]
TEMPLATE = "It is about {}!"

#: Emoji, CJK, marks that combine, right-to-left, controls, and words in pieces.
TEXTS = [
    "the old man was not playing well, was he?",
    "Café 🚀🚀 in São Paulo; 你好 (x) 3.14 - “quoted”!",
    "Cafe\u0301 by E\u0301mile and the river",
    "שלום you מחמד محمد and money",
    "a\u200bb Lon\u200bdon x\u0000y \ufb01le",
    "서울에 사는 김철수 was here",
    "👩‍👩‍👧‍👦 played in the house at night",
]
MASKED = ["the [MASK] was good", "[MASK] 🚀 café [MASK]", "你好 [MASK]!"]
TARGETS = ["river", "Money", "the"]
QUESTIONS = [
    ("what was it", TEXTS[0]),
    ("wo 🚀?", TEXTS[1]),
    ("who", "the film was good and the book was bad, no man in the house. " * 4 + "שלום café"),
]


def write_task(folder: Path, task: str) -> Path:
    """A checkpoint folder for a task; "nli" is text-classification with the labels of inference."""
    random = np.random.RandomState(7)
    hidden = CONFIG["hidden_size"]
    config: dict[str, Any] = {key: value for key, value in CONFIG.items() if key not in ("id2label", "label2id")}
    weights = {name: value for name, value in bert_weights(CONFIG).items() if not name.startswith("classifier")}
    if task != "nli":
        weights = {name: value for name, value in weights.items() if "pooler" not in name}

    def linear(name: str, outputs: int, scale: float) -> None:
        weights[f"{name}.weight"] = (scale * random.standard_normal((outputs, hidden))).astype(np.float32)
        weights[f"{name}.bias"] = (0.1 * random.standard_normal(outputs)).astype(np.float32)

    labels = {"token-classification": ENTITIES, "nli": RELATIONS}.get(task)
    if labels:
        config["id2label"] = {str(place): label for place, label in enumerate(labels)}
        config["label2id"] = {label: place for place, label in enumerate(labels)}
        linear("classifier", len(labels), 0.2)
    elif task == "question-answering":
        linear("qa_outputs", 2, 0.4)
    else:
        linear("cls.predictions.transform.dense", hidden, 0.2)
        weights["cls.predictions.transform.LayerNorm.weight"] = np.ones(hidden, np.float32)
        weights["cls.predictions.transform.LayerNorm.bias"] = np.zeros(hidden, np.float32)
        weights["cls.predictions.bias"] = (0.1 * random.standard_normal(config["vocab_size"])).astype(np.float32)
    suffix = {
        "token-classification": "TokenClassification",
        "nli": "SequenceClassification",
        "question-answering": "QuestionAnswering",
        "fill-mask": "MaskedLM",
    }[task]
    config["architectures"] = [f"BertFor{suffix}"]
    return write_checkpoint(folder, config, weights)
