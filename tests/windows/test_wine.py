"""The kernels of a DLL, in a process of Windows as wine has it: the integers of NumPy, for every part of a plan.

It needs wine, MinGW's compiler and lld: `apt-get install wine64 gcc-mingw-w64-x86-64`, and lld or ziglang.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minibert.engine.cpu import supported_isas
from minibert.kernels.isa import this_machine
from minibert.kernels.linking import can_link
from tests.engine.zoo import SHAPES, lengths_of, numpy_answers, zoo
from tests.windows.block import BASE, Block, answers

pytestmark = pytest.mark.slow
_COMPILER = "x86_64-w64-mingw32-gcc"
#: One for each way in which registers are used: 16 and 32 of them, and those of any CPU.
ISAS = ("avx2", "avx512vnni", "portable")
#: What the first of them runs, and what the others do.
_SHAPES = (list(SHAPES), ["plain", "relative", "modern"])


@pytest.fixture(scope="session", params=ISAS)
def dll(request, tmp_path_factory) -> Path:
    pytest.importorskip("numba")
    if sys.platform != "linux" or this_machine() != "x86_64" or not can_link("windows", "x86_64"):
        pytest.skip("needs x86-64 Linux, and lld")
    if request.param not in supported_isas():
        pytest.skip("this CPU lacks it")
    file = tmp_path_factory.mktemp("dll") / f"{request.param}.dll"
    subprocess.run([sys.executable, "-m", "minibert.kernels.build", request.param, str(file)], check=True)
    return file


@pytest.fixture(scope="session")
def block() -> Block:
    return Block()


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

    subprocess.run(["wineserver", "--persistent"], env=environment, check=False)  # else each start takes seconds

    def run(*words: str) -> None:
        done = subprocess.run([wine, str(driver), *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"

    yield run
    subprocess.run(["wineserver", "--kill"], env=environment, check=False, capture_output=True)


@pytest.mark.parametrize("name", SHAPES)
def test_every_plan_has_the_bits_of_numpy(dll, windows, block, tmp_path, name):
    if name not in _SHAPES[dll.stem != ISAS[0]]:
        pytest.skip("the first instruction set has it")
    model = zoo(name, "int8")
    texts = model.texts(lengths_of(model))
    calls = []

    def run(job: int) -> None:
        file = tmp_path / "block"
        file.write_bytes(block.memory[: block.used].tobytes())
        windows(str(dll), str(file), f"{BASE:x}", f"{job:x}")
        block.memory[: block.used] = np.frombuffer(file.read_bytes(), np.uint8)
        calls.append(job)

    found = answers(model, texts, dll.stem, block, run)
    np.testing.assert_array_equal(found, numpy_answers(name, "int8"))
    assert len(calls) == 1


def test_a_dll_is_what_windows_loads(dll):
    """One function, no import, no file that it was made of; the same bytes whenever it is made."""
    content = dll.read_bytes()
    (header,) = struct.unpack_from("<I", content, 0x3C)
    signature, machine, _sections, _time, _symbols, _count, optional_size, flags = struct.unpack_from(
        "<4sHHIIIHH", content, header
    )
    assert (signature, machine) == (b"PE\0\0", 0x8664)
    assert flags & 0x2000  # a DLL
    optional = header + 24
    (magic,) = struct.unpack_from("<H", content, optional)
    assert magic == 0x20B  # PE32+
    exports, _size, imports, import_size = struct.unpack_from("<IIII", content, optional + 112)
    assert exports
    assert (imports, import_size) == (0, 0)
    (characteristics,) = struct.unpack_from("<H", content, optional + 70)
    assert characteristics & 0x140 == 0x140  # lies at any address; its data is not run
    assert content.count(b"minibert_run\0") == 1
    assert optional_size == 240
    assert len(content) < 300_000
