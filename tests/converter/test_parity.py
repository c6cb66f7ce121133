"""bench/parity, where there are PyTorch and the libraries that it compares with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest


@pytest.mark.parametrize(
    ("part", "library", "least"),
    [("pipelines", "transformers", 25), ("sentences", "sentence_transformers", 40), ("families", "transformers", 60)],
)
def test_answers_are_those_of_the_other_libraries(part, library, least):
    if find_spec("torch") is None or find_spec(library) is None:
        pytest.skip(f"needs PyTorch and {library}")
    command = [sys.executable, "-m", "bench.parity", "--only", part, "--texts", "30", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path()})
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row for row in rows if row["differ"]] == []
    assert done.returncode == 0, done.stderr
    assert len(rows) >= least


def path() -> str:
    """Where this process finds both halves of the project."""
    return os.pathsep.join(each for each in sys.path if each)
