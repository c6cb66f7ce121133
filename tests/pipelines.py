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


def spans(windows: list[Any], context: str, longest: int, impossible: bool) -> list[dict[str, Any]]:
    """All answers by falling score, one span after another: nothing of the product's code.

    Args:
        windows: of each its logits of beginning and end, which text each token is of (0 the question, 1 the context,
            None special tokens), the number of its word, and its characters.
        context: where answers are looked for.
        longest: tokens of an answer.
        impossible: whether "" may be an answer.
    """
    best: dict[tuple[int, int], float] = {}
    nothing = 1.0
    for logits, owners, words, offsets in windows:
        inside = [place for place, owner in enumerate(owners) if owner == 1]
        kept = [0, *inside]
        weights = [np.exp(np.array([row[place] for place in kept])) for row in logits]
        starts, ends = (dict(zip(kept, row / row.sum(), strict=True)) for row in weights)
        nothing = min(nothing, float(starts[0] * ends[0]))
        heads = {words[place]: offsets[place][0] for place in reversed(inside)}
        tails = {words[place]: offsets[place][1] for place in inside}
        for first in inside:
            for last in range(first, min(first + longest, inside[-1] + 1)):
                span = heads[words[first]], tails[words[last]]
                best[span] = max(best.get(span, 0.0), float(starts[first] * ends[last]))
    answers = [{"score": s, "start": a, "end": b, "answer": context[a:b]} for (a, b), s in best.items()]
    if impossible:
        answers.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
    return sorted(answers, key=lambda each: -each["score"])
