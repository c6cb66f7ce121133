"""What a wheel without numba has to show: `device.py WHEEL MODEL`, run in an environment that has no numba."""

import importlib.util
import sys
import zipfile
from pathlib import Path

import minibert
from minibert.engine.cpu import supported_isas
from minibert.kernels.prebuild import INSTRUCTION_SETS
from minibert.kernels.systems import library_name, systems_of, this_system

MOST_BYTES = 4 << 20
CARRIED = set(INSTRUCTION_SETS)

wheel, model = Path(sys.argv[1]), sys.argv[2]
assert "site-packages" in minibert.__file__, minibert.__file__
assert not any(importlib.util.find_spec(name) for name in ("numba", "llvmlite")), "this environment has numba"
assert wheel.stat().st_size <= MOST_BYTES, f"{wheel.name} has {wheel.stat().st_size} bytes"
libraries = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "kernels/prebuilt/" in name}
expected = {library_name(isa, system) for isa in CARRIED for system in systems_of(isa)} | {"kernels.json"}
assert {name for name in libraries ^ expected if not name.startswith("macos-")} == set(), libraries

loaded = minibert.load(model)
answer = loaded.predict("my new card has not arrived yet")
by_kernels = {library_name(isa, this_system()) for isa in supported_isas()} & libraries
assert loaded.engine.backend == ("prebuilt" if by_kernels else "numpy"), loaded.engine.backend
assert answer == minibert.load(model, backend="numpy").predict("my new card has not arrived yet")
print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.2f} MB, {loaded.engine.backend} {loaded.engine.isa}: {answer}")
