"""The carried library of Linux under musl, Alpine's C library: it is loaded, and has the integers of NumPy.

It needs musl and its compiler: `apt-get install musl-tools`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.engine.zoo import lengths_of, numpy_answers, zoo
from tests.systems.block import answers, in_another_process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def alpine(tmp_path_factory):
    """Runs the driver, by musl's loader."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("needs musl-tools")
    driver = tmp_path_factory.mktemp("musl") / "driver"
    source = Path(__file__).with_name("driver.c")
    subprocess.run(["musl-gcc", "-O2", "-Wall", "-Werror", "-o", str(driver), str(source)], check=True)
    assert b"/lib/ld-musl-x86_64.so.1" in driver.read_bytes()

    def run(*words: str) -> None:
        done = subprocess.run([str(driver), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"

    return run


@pytest.mark.parametrize("isa", ["avx2", "portable"])
@pytest.mark.parametrize("name", ["plain", "long", "relative", "modern", "rms", "tokens"])
def test_answers_have_the_bits_of_numpy(library, runs_here, alpine, block, tmp_path, isa, name):
    runs_here(isa)
    model = zoo(name, "int8")
    run = in_another_process(block, tmp_path / "block", alpine, library(isa, "linux"))
    found = answers(model, model.texts(lengths_of(model)), isa, block, run)
    np.testing.assert_array_equal(found, numpy_answers(name, "int8"))
