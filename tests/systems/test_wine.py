"""The kernels of a DLL, in a process of Windows as wine has it: the integers of NumPy, for every part of a plan.

It needs wine, MinGW's compiler and lld: `apt-get install wine64 gcc-mingw-w64-x86-64`, and lld or ziglang.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.engine.zoo import SHAPES, lengths_of, numpy_answers, zoo
from tests.systems.block import answers, in_another_process

pytestmark = pytest.mark.slow
_COMPILER = "x86_64-w64-mingw32-gcc"
#: One for each way in which registers are used: 16 and 32 of them, and those of any CPU; and what they run.
CASES = [
    *(("avx2", name) for name in SHAPES),
    *((isa, name) for isa in ("avx512vnni", "portable") for name in ("plain", "relative", "modern")),
]


@pytest.fixture(scope="session")
def windows(tmp_path_factory):
    """Runs the driver with some words."""
    wine = shutil.which("wine64") or shutil.which("wine")
    if wine is None or shutil.which(_COMPILER) is None:
        pytest.skip("needs wine and MinGW")
    folder = tmp_path_factory.mktemp("wine")
    driver = folder / "driver.exe"
    source = Path(__file__).with_name("driver.c")
    subprocess.run([_COMPILER, "-O2", "-Wall", "-Werror", "-o", str(driver), str(source)], check=True)
    environment = {**os.environ, "WINEPREFIX": str(folder / "prefix"), "WINEDEBUG": "-all", "DISPLAY": ""}

    def run(*words: str) -> None:
        done = subprocess.run([wine, str(driver), *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"

    return run


@pytest.mark.parametrize(("isa", "name"), CASES)
def test_every_plan_has_the_bits_of_numpy(library, runs_here, windows, block, tmp_path, isa, name):
    runs_here(isa)
    model = zoo(name, "int8")
    run = in_another_process(block, tmp_path / "block", windows, library(isa, "windows"))
    found = answers(model, model.texts(lengths_of(model)), isa, block, run)
    np.testing.assert_array_equal(found, numpy_answers(name, "int8"))


@pytest.mark.parametrize(("isa", "machine"), [("avx2", 0x8664), ("neon-dotprod", 0xAA64)])
def test_a_dll_is_what_windows_loads(library, isa, machine):
    """One function, no import, no name of a file that it was made of."""
    content = library(isa, "windows").read_bytes()
    (header,) = struct.unpack_from("<I", content, 0x3C)
    signature, found, _sections, _time, _symbols, _count, optional_size, flags = struct.unpack_from(
        "<4sHHIIIHH", content, header
    )
    assert (signature, found, optional_size) == (b"PE\0\0", machine, 240)
    assert flags & 0x2000  # a DLL
    optional = header + 24
    (magic,) = struct.unpack_from("<H", content, optional)
    (characteristics,) = struct.unpack_from("<H", content, optional + 70)
    exports, _size, imports, import_size = struct.unpack_from("<IIII", content, optional + 112)
    assert magic == 0x20B  # PE32+
    assert characteristics & 0x140 == 0x140  # lies at any address; its data is not run
    assert exports
    assert (imports, import_size) == (0, 0)
    assert content.count(b"minibert_run\0") == 1
    assert len(content) < 300_000
