"""Remakes families.json beside this file: what transformers computes for small checkpoints of every family and head.

    pip install -e '.[train]'
    python tests/golden/make_families.py [FAMILY ...]     # all, or these alone

Only names, shapes and outputs are stored: the weights are noise from seeds that tests/families.py draws again. They
are exact in half precision, so that checkpoints in float16 and in float32 have the same outputs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.families import (  # noqa: E402
    GOLDEN,
    SETUPS,
    TASKS,
    cases,
    checkpoint_weights,
    class_name,
    shown_columns,
    shown_rows,
)


def made(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """The entry of one family: shapes of the encoder's tensors, and for each task those of its head, and outputs."""
    entry: dict[str, Any] = {"prefix": "", "encoder": {}, "tasks": {}}
    for task in SETUPS[family].get("tasks", TASKS):
        architecture = class_name(family, task)
        if not hasattr(transformers, architecture):
            continue
        labels = {"num_labels": 2} if task == "question-answering" else {}
        model_config = transformers.AutoConfig.for_model(**{**config, **labels})
        model = getattr(transformers, architecture)._from_config(model_config, attn_implementation="eager").eval()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            with safe_open(f"{folder}/model.safetensors", "np") as file:
                shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
            save_file(checkpoint_weights(shapes), f"{folder}/model.safetensors", {"format": "pt"})
            model, info = type(model).from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
            )
        if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
            raise SystemExit(f"{architecture}: {info}")
        model.eval()
        if task == "sentence-embedding":
            entry["encoder"] = shapes
        prefix = f"{model.base_model_prefix}." if task != "sentence-embedding" else ""
        entry["prefix"] = prefix or entry["prefix"]
        encoder = {f"{prefix}{name}" for name in entry["encoder"]}
        entry["tasks"][task] = {
            "architecture": architecture,
            "head": {name: shape for name, shape in shapes.items() if name not in encoder},
            "without": sorted(name.removeprefix(prefix) for name in encoder.difference(shapes)),
            "outputs": [answer(model, task, ids, types) for ids, types in cases(config)],
        }
    return entry


def answer(model: Any, task: str, ids: list[int], types: list[int]) -> list[list[float]]:
    """The rows that the task's model returns, thinned out."""
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if any(types):
        inputs["token_type_ids"] = torch.tensor([types])
    with torch.no_grad():
        result = model(**inputs)
    if task == "question-answering":
        rows = torch.stack([result.start_logits[0], result.end_logits[0]], dim=1)
    elif task == "sentence-embedding":
        own = "last_hidden_state" not in result  # DPR makes the vector itself
        rows = result.pooler_output if own else result.last_hidden_state[0].mean(0, keepdim=True)
    elif task == "text-classification":
        rows = result.logits
    else:
        rows = result.logits[0]
    rows = rows[shown_rows(len(rows))][:, shown_columns(rows.shape[1])]
    return [[float(f"{value:.7g}") for value in row] for row in rows.tolist()]


if __name__ == "__main__":
    torch.manual_seed(0)
    wanted = sys.argv[1:] or list(SETUPS)
    known = json.loads(GOLDEN.read_text(encoding="utf-8")) if sys.argv[1:] else {}
    entries = {
        family: made(family, setup["config"]) if family in wanted else known[family]
        for family, setup in SETUPS.items()
        if family in wanted or family in known
    }
    lines = ",\n".join(f"{json.dumps(family)}: {json.dumps(entry)}" for family, entry in entries.items())
    GOLDEN.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
