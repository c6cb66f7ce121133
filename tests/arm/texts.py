"""Answers of a model file to lines of text, as JSON: labels, entities or vectors, to the last bit.

python -m tests.arm.texts MODEL TEXTS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import minibert


def answers(model: Path, texts: list[str], backend: str | None = None) -> Any:
    """What the model says to each text; one text at a time, as on a device."""
    loaded = minibert.load(model, threads=1, backend=backend)
    if loaded.task.kind == "sentence-embedding":
        return [loaded.encode(text).tolist() for text in texts]
    return json.loads(json.dumps([loaded.predict(text) for text in texts]))


if __name__ == "__main__":
    print(json.dumps(answers(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8").splitlines())))  # noqa: T201
    assert not {"numba", "llvmlite"} & set(sys.modules)
