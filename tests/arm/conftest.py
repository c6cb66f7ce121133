"""An emulated Raspberry Pi: an aarch64 Python under qemu, started by the program that MINIBERT_ARM names.

`$MINIBERT_ARM CPU ARGUMENTS...` must run Python as a "cortex-a53", "cortex-a72" or "cortex-a76", with NumPy installed,
and kill it at an instruction that this CPU lacks. Without it, all tests here are skipped. If it knows "max" too, which
is how QEMU calls a core that has everything, the kernels for newer ARM cores are tested on that.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The instruction set that must be chosen on each core. Raspberry Pi 3 and Zero 2; 4; 5; what is newer.
CORES = {"cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "neon-dotprod", "max": "neon-i8mm"}
_PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")


@dataclass(frozen=True)
class Pi:
    """One emulated core.

    Attributes:
        core: the CPU's name.
        isa: the instruction set that belongs to it.
        package: folder that holds minibert, with its kernels for ARM, and its tests.
    """

    core: str
    isa: str
    package: Path

    def python(self, *arguments: str, timeout: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python on the core."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MINIBERT_")}
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS")}
        return subprocess.run(
            [os.environ["MINIBERT_ARM"], self.core, *arguments],
            env={**clean, **single, "PYTHONPATH": str(self.package), **environment},
            cwd=self.package,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """A copy of the package and its tests with kernels for ARM, and pytest beside them."""
    if not os.environ.get("MINIBERT_ARM"):
        pytest.skip("needs an emulated Raspberry Pi: see docs/RASPBERRY_PI.md")
    pytest.importorskip("numba")

    folder = tmp_path_factory.mktemp("arm")
    for name in ("minibert", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    for name in _PYTEST:
        found = importlib.util.find_spec(name)
        if found and found.submodule_search_locations:
            shutil.copytree(found.submodule_search_locations[0], folder / name)
        elif found and found.origin:
            shutil.copy(found.origin, folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes minutes\n")
    # From the copy's own sources: somebody may be editing those here.
    command = [
        sys.executable,
        "-m",
        "minibert.kernels.prebuild",
        "minibert/kernels/prebuilt",
        *sorted({*CORES.values()}),
    ]
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    built = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    if "no linker" in built.stderr:
        pytest.skip("needs lld, which links for ARM")
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(params=CORES)
def pi(request, package) -> Pi:
    core = Pi(request.param, CORES[request.param], package)
    if core.core == "max" and core.python("-c", "pass").returncode:
        pytest.skip("the emulator knows no core called max")
    return core
