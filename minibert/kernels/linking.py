"""From object code to a shared library: for Linux, Windows and macOS, on any machine that has lld."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from minibert.errors import BackendError
from minibert.kernels.isa import this_machine
from minibert.kernels.systems import SYSTEMS, this_system

ENTRY_POINT = "minibert_run"
#: Debian puts a version behind the names of LLVM's programs.
_VERSIONS = ("", *(f"-{version}" for version in range(24, 12, -1)))
#: macOS loads no library that needs nothing: this one needs the one that every process has.
_LIB_SYSTEM = """--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: /usr/lib/libSystem.B.dylib
current-version: 1292
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ dyld_stub_binder ]
...
"""


def link(code: bytes, system: str, machine: str) -> bytes:
    """A shared library made of object code, which needs no other.

    Args:
        code: an object file for the system.
        system: a name of SYSTEMS.
        machine: the architecture, as TARGETS has it.

    Raises:
        BackendError: there is no linker for them, it failed, or the code needs what kernels may not need.
    """
    linker = _linker(system, machine)
    if linker is None:
        raise BackendError(f"no linker for {system} on {machine}: install lld (or, but for macos: pip install ziglang)")
    with tempfile.TemporaryDirectory(prefix="minibert-") as folder:
        source, target = Path(folder) / "kernels.o", Path(folder) / f"kernels{SYSTEMS[system].suffix}"
        source.write_bytes(code)
        (Path(folder) / "libSystem.tbd").write_text(_LIB_SYSTEM, encoding="ascii")
        command = [*linker, *_options(system, machine, target), source.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode or not target.exists():
            raise BackendError(f"linking the kernels failed: {(done.stderr + done.stdout).strip()[-300:]}")
        return target.read_bytes()


def can_link(system: str, machine: str) -> bool:
    """Whether there is a linker for a system."""
    return _linker(system, machine) is not None


def _options(system: str, machine: str, target: Path) -> list[str]:
    """What each linker calls the same wishes: a library of one function, stripped, that leaves nothing undefined."""
    if system == "windows":
        wishes = ["/dll", "/noentry", "/nodefaultlib", f"/export:{ENTRY_POINT}", "/brepro"]
        return [*wishes, f"/machine:{'x64' if machine == 'x86_64' else 'arm64'}", f"/out:{target.name}"]
    if system == "macos":
        version = re.sub(r".*macosx", "", SYSTEMS[system].triples[machine])
        architecture = "arm64" if machine == "aarch64" else machine
        wishes = ["-dylib", "-x", "-dead_strip", "-arch", architecture, "-platform_version", "macos", version, version]
        exported = ["-exported_symbol", f"_{ENTRY_POINT}", "-install_name", f"@rpath/{target.name}"]
        return [*wishes, *exported, "-o", target.name, "libSystem.tbd"]
    return ["-shared", "-s", "-z", "noexecstack", "-z", "now", "-z", "defs", "-o", target.name]


def _linker(system: str, machine: str) -> list[str] | None:
    """A command that links for a system, if there is any; of this system its own, which is known to be right."""
    if system == this_system() and machine == this_machine() and system != "windows" and shutil.which("ld"):
        return ["ld"]
    name = {"windows": "lld-link", "macos": "ld64.lld"}.get(system, "ld.lld")
    for version in _VERSIONS:
        if shutil.which(name + version):
            return [name + version]
    if system != "macos" and importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", name]
    return None
