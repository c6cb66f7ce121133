"""Whatever the JSON files of a checkpoint say, the outcome is a network or an error of minibert's own."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from minibert.errors import MinibertError
from minibert_converter.checkpoints import read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden/sentence"
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "a\x00b", [], {}, [1], {"a": 1}, [[]], [{}], ["x"], {"0": "a"}),
]


def mutated(value: Any, source: random.Random) -> Any:
    """`value` with one of its parts removed or replaced."""
    if isinstance(value, dict) and value and source.random() < 0.9:
        key = source.choice(list(value))
        if source.random() < 0.15:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: mutated(value[key], source)}
    if isinstance(value, list) and value and source.random() < 0.9:
        index = source.randrange(len(value))
        return [*value[:index], mutated(value[index], source), *value[index + 1 :]]
    return source.choice(VALUES)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json")))
def test_mutated_json(tmp_path, name):
    source = random.Random(name)
    folder = tmp_path / "checkpoint"
    shutil.copytree(GOLDEN, folder)
    original = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    outcomes = set()
    for _ in range(60):
        (folder / name).write_text(json.dumps(mutated(original, source)), encoding="utf-8")
        try:
            read_checkpoint(folder)
            outcomes.add("read")
        except MinibertError:
            outcomes.add("refused")
    assert outcomes & {"refused"}
