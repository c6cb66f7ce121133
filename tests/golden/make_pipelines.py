"""Remakes pipelines.json beside this file: what the pipelines of transformers answer.

    pip install -e '.[train]'
    python tests/golden/make_pipelines.py

transformers has no pipeline for question answering any more: for that task the logits of its model are stored.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.pipelines import CANDIDATES, MASKED, QUESTIONS, TARGETS, TEMPLATE, TEXTS, write_task  # noqa: E402


def entities(folder: Path) -> dict[str, Any]:
    pipe = pipeline("token-classification", str(folder), dtype=torch.float32)
    answers: dict[str, Any] = {
        strategy: [pipe(text, aggregation_strategy=strategy) for text in TEXTS]
        for strategy in ("none", "simple", "first", "average", "max")
    }
    answers["stride"] = [pipe(text * 6, aggregation_strategy="simple", stride=5) for text in TEXTS]
    return answers


def fillings(folder: Path) -> dict[str, Any]:
    pipe = pipeline("fill-mask", str(folder), dtype=torch.float32)
    return {"best": [pipe(text) for text in MASKED], "targets": pipe(MASKED[0], targets=TARGETS)}


def inferred(folder: Path) -> dict[str, Any]:
    pipe = pipeline("zero-shot-classification", str(folder), dtype=torch.float32)
    return {
        "one": [pipe(text, CANDIDATES) for text in TEXTS],
        "many": [pipe(text, CANDIDATES, multi_label=True, hypothesis_template=TEMPLATE) for text in TEXTS],
    }


def answers(folder: Path) -> list[Any]:
    """Logits of each window of each question."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for question, context in QUESTIONS:
        encoded = tokenizer(
            question, context, truncation="only_second", max_length=48, stride=8,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        windows = []
        for number, (ids, types) in enumerate(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)):
            with torch.no_grad():
                out = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
            logits = torch.stack([out.start_logits[0], out.end_logits[0]]).tolist()
            owners, words = encoded.sequence_ids(number), encoded.word_ids(number)
            windows.append([logits, owners, words, encoded["offset_mapping"][number]])
        found.append(windows)
    return found


def main() -> None:
    makers = {"token-classification": entities, "fill-mask": fillings, "nli": inferred, "question-answering": answers}
    golden = {}
    for task, make in makers.items():
        with tempfile.TemporaryDirectory() as name:
            golden[task] = make(write_task(Path(name), task))
    text = json.dumps(golden, default=lambda number: number.item())
    rounded = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.7g}"))
    (HERE / "pipelines.json").write_text(json.dumps(rounded, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
