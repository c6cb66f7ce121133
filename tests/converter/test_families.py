"""Every family and head against what transformers computes (see tests/golden/make_families.py)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minibert_converter.convert import convert

from minibert.engine import Engine
from minibert.format import read_model
from tests.checkpoints import WORDS
from tests.families import SETUPS, cases, golden, shown_columns, shown_rows, write_family

golden = cache(golden)
CALIBRATION = [" ".join(np.random.RandomState(seed).permutation(WORDS.split())[:30]) for seed in range(8)]
ALL = [(family, task) for family in SETUPS for task in golden()[family]["tasks"]]


def answers(path: Path, family: str, backend: str) -> list[np.ndarray]:
    """The rows of the golden texts, thinned out as those of transformers are."""
    engine = Engine(read_model(path), backend=backend, threads=1)
    texts = cases(SETUPS[family]["config"])
    rows = engine.forward([ids for ids, _types in texts], [types for _ids, types in texts])
    ends = np.cumsum([len(ids) for ids, _types in texts])
    parts = np.split(rows, ends[:-1]) if not engine.pooled else [row[None] for row in rows]
    return [part[shown_rows(len(part))][:, shown_columns(part.shape[1])] for part in parts]


def expected(family: str, task: str) -> list[np.ndarray]:
    return [np.array(rows, np.float32) for rows in golden()[family]["tasks"][task]["outputs"]]


def largest_error(made: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    assert [part.shape for part in made] == [part.shape for part in wanted]
    return max(np.abs(a - b).max() for a, b in zip(made, wanted, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(("family", "task"), ALL)
def test_float32_answers_are_those_of_transformers(tmp_path, family, task, dtype):
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family], dtype)
    report = convert(folder, tmp_path / "model.safetensors", dtype="float32")
    assert report.task == task
    wanted = expected(family, task)
    assert max(np.abs(rows).max() for rows in wanted) > 0.3
    assert largest_error(answers(tmp_path / "model.safetensors", family, "numpy"), wanted) < 2e-5 * scale(wanted)


def scale(rows: list[np.ndarray]) -> float:
    """Large logits have large rounding errors."""
    return max(1.0, *(float(np.abs(part).max()) / 4 for part in rows))


@pytest.mark.parametrize("family", SETUPS)
def test_int8_answers_are_near_those_of_transformers(tmp_path, family):
    task = "token-classification"
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    convert(folder, tmp_path / "model.safetensors", calibrate=CALIBRATION)
    made, wanted = answers(tmp_path / "model.safetensors", family, "numpy"), expected(family, task)
    # Attention is far sharper in noise than in a trained model, and int8 loses more in it.
    spread = np.concatenate(wanted).std()
    error = np.concatenate(made) - np.concatenate(wanted)
    assert np.sqrt(np.square(error).mean()) < 0.1 * spread


def jit_or_skip() -> None:
    from minibert.engine.library import can_compile

    if not can_compile():
        pytest.skip("needs numba")


@pytest.mark.parametrize("family", SETUPS)
def test_kernels_agree(tmp_path, family):
    """int8: the same bits as NumPy; float32: transformers' answers."""
    jit_or_skip()
    task = "fill-mask" if "fill-mask" in golden()[family]["tasks"] else "text-classification"
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    convert(folder, tmp_path / "int8.safetensors", calibrate=CALIBRATION)
    made: dict[str, Any] = {b: answers(tmp_path / "int8.safetensors", family, b) for b in ("numpy", "jit")}
    for numpy, jit in zip(made["numpy"], made["jit"], strict=True):
        np.testing.assert_array_equal(jit, numpy)
    convert(folder, tmp_path / "float32.safetensors", dtype="float32")
    wanted = expected(family, task)
    assert largest_error(answers(tmp_path / "float32.safetensors", family, "jit"), wanted) < 2e-5 * scale(wanted)
