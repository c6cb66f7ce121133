"""A conversion that is killed at any moment leaves the old file or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minibert.format import read_model
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint

ROOT = Path(__file__).parents[2]
#: Converts again and again, to the two files in turn, so that a kill meets every moment of writing.
ENDLESS = """
import sys
from minibert_converter.convert import convert
print("ready", flush=True)
while True:
    for form in ("none", "int8"):
        convert(sys.argv[1], sys.argv[2], quantize=form, calibrate=["a good book"] if form == "int8" else None)
"""


def kill_while_converting(folder: Path, out: Path, wait: float) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "converter")])}
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(folder), str(out)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)


def whole_versions(folder: Path, path: Path) -> set[bytes]:
    versions = set()
    for form in ("none", "int8"):
        convert(folder, path, quantize=form, calibrate=["a good book"] if form == "int8" else None)
        versions.add(path.read_bytes())
    path.unlink()
    return versions


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_old_file_or_the_new(tmp_path, kills):
    folder = write_checkpoint(tmp_path / "checkpoint", CONFIG, bert_weights(CONFIG))
    out = tmp_path / "made" / "model"
    out.parent.mkdir()
    start = time.monotonic()
    whole = whole_versions(folder, tmp_path / "whole")
    cycle = time.monotonic() - start
    assert len(whole) == 2
    convert(folder, out, quantize="none")
    seed = random.Random(0)
    seen = set()
    for _ in range(kills):
        kill_while_converting(folder, out, seed.uniform(0.0, 3 * cycle))
        content = out.read_bytes()
        assert content in whole
        read_model(out)
        seen.add(content)
    # What a kill leaves beside the file is never taken for it, and the next conversion works.
    assert all(path.name.startswith("model.tmp") for path in out.parent.iterdir() if path != out)
    convert(folder, out, quantize="none")
    assert out.read_bytes() in whole
    assert kills < 20 or seen == whole
