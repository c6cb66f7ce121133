"""Every form in which the package is installed, made by the real tools: kernels answer, in a size that fits.

MINIBERT_WHEEL names the wheel; without it one is built, which takes minutes. pip fetches the other packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.install.forms import FORMS, ToolError
from minibert.engine import cpu
from minibert.engine.cpu import supported_isas
from minibert.kernels.isa import TARGETS, this_machine

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]
ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/banking77/small.safetensors"
#: MB: what is promised, and what a layer of AWS Lambda may be.
MOST = {"pip install": 130, "AWS Lambda's layout": 100}


def isas() -> set[str]:
    """What this CPU's kernels are: by Linux, and by NumPy alone."""
    told = cpu._numpy_features() if this_machine() == "x86_64" else cpu.cpu_features()
    by_numpy = next(
        name for name, target in TARGETS.items() if target.machine in ("", this_machine()) and target.features <= told
    )
    return {supported_isas()[0], by_numpy}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    if path := os.environ.get("MINIBERT_WHEEL"):
        return Path(path)
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("wheel")
    environment = {**os.environ, "MINIBERT_PREBUILT": ",".join(sorted(isas()))}
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr[-300:]}")
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("name", FORMS)
def test_kernels_answer(wheel, tmp_path, name):
    try:
        form = FORMS[name](wheel, tmp_path)
    except ToolError as error:
        pytest.skip(str(error))
    model = tmp_path / "model.safetensors"
    shutil.copyfile(MODEL, model)
    found = form.answer(model)  # and no warning
    assert (found["backend"], found["label"]) == ("prebuilt", "card_arrival")
    assert found["isa"] in isas()
    if name in MOST:
        assert form.size() <= MOST[name] * 1e6


def test_a_frozen_program_says_what_it_lost(wheel, tmp_path):
    """Its kernels deleted: one warning, NumPy's answer, and no process is started to compile any."""
    form = FORMS["PyInstaller"](wheel, tmp_path)
    for file in tmp_path.glob("dist/**/prebuilt/*"):
        file.unlink()
    done = form.run(MODEL)
    assert done.returncode == 0
    assert '"backend": "numpy"' in done.stdout
    assert done.stderr.count("BackendWarning: NumPy answers") == 1
    assert "has lost them" in done.stderr
    assert "card_arrival" in done.stdout
