"""Instruction sets: the one table of them, which needs no numba, and the one that this process builds kernels for.

Each has a module of its own here, of its name with underscores, which says as `ISA` how it multiplies and adds.
`select` names the instruction set before any kernel module is imported; a process builds for one of them.
"""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from minibert.errors import UnsupportedError
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from minibert.kernels.isa.base import Isa


class Target(NamedTuple):
    """The CPUs that run an instruction set's kernels.

    Attributes:
        machine: their architecture, by the name that Linux has for it; empty for any.
        features: what they must have, as /proc/cpuinfo names it.
        whole_tiles: whether they multiply whole tiles, in registers that the system has to grant (`TileRegisters`).
        block_rows: rows of a matrix product whose sums are held at once, between the product and the epilogue of each
            row. All weights go by once for each block. The faster they are multiplied, the more it counts that they are
            fetched from beyond the second-level cache, or made of four bits.
        rows_at_once: rows that go through an epilogue together: a power of two, as many as the registers hold.
    """

    machine: str
    features: frozenset[str]
    whole_tiles: bool = False
    block_rows: int = 48
    rows_at_once: int = 4


_AVX2 = frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "fma", "bmi2"})
#: Code for a CPU with `asimddp` (the dot products) is that of a Cortex-A76: it may use all of these.
_DOTPROD = frozenset({"asimd", "asimddp", "atomics", "asimdhp", "asimdrdm", "lrcpc", "crc32"})

#: All instruction sets by name, most capable first; the last one is any CPU's.
TARGETS = {
    "amx": Target("x86_64", _AVX512 | {"amx_tile", "amx_int8"}, whole_tiles=True, block_rows=128),
    "avx512vnni": Target("x86_64", _AVX512, block_rows=64),
    "avxvnni": Target("x86_64", _AVX2 | {"avx_vnni"}),
    "avx2": Target("x86_64", _AVX2),
    "neon-i8mm": Target("aarch64", _DOTPROD | {"i8mm"}, rows_at_once=2),
    "neon-dotprod": Target("aarch64", _DOTPROD, rows_at_once=2),
    "neon": Target("aarch64", frozenset({"asimd"}), rows_at_once=2),
    "portable": Target("", frozenset()),
}
#: What systems call the architectures of the table.
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


_selected = ""


def this_machine() -> str:
    """This machine's architecture, as the table has it; empty for any other, also for a 32-bit process."""
    if sys.maxsize < 1 << 32:
        return ""
    machine = platform.machine()
    if sys.platform == "win32":  # which tells an x86-64 process that it emulates of its own architecture
        machine = "ARM64" if "(ARM64)" in sys.version else "AMD64"
    return _MACHINES.get(machine.lower(), "")


def load(name: str) -> Isa:
    """What the microkernels of an instruction set are generated from; it takes llvmlite.

    Raises:
        UnsupportedError: no such instruction set.
    """
    if name not in TARGETS:
        raise UnsupportedError(f"no kernels for instruction set {name!r}: there are {', '.join(TARGETS)}")
    return import_module(f"{__name__}.{name.replace('-', '_')}").ISA


def select(name: str) -> Isa:
    """Choose the instruction set that this process builds kernels for.

    Raises:
        UnsupportedError: no such instruction set.
    """
    global _selected
    chosen = load(name)
    _selected = name
    return chosen


def current() -> Isa:
    """The selected instruction set."""
    return load(_selection())


def current_target() -> Target:
    """The CPUs that it is for."""
    return TARGETS[_selection()]


def _selection() -> str:
    if not _selected:
        raise RuntimeError("select an instruction set before importing the kernels")
    return _selected
