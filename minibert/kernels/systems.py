"""Systems that kernels are built for ahead, by one compiler on any machine: the one table of them, without numba."""

from __future__ import annotations

import sys

from minibert.kernels.isa import TARGETS
from minibert.tuples import NamedTuple


class System(NamedTuple):
    """What loads a library.

    Attributes:
        triples: LLVM's names of it, by the architecture as TARGETS has it.
        suffix: how the names of its libraries end.
        leaves_out: instruction sets that no CPU of it has, or that it has no means to tell.
    """

    triples: dict[str, str]
    suffix: str
    leaves_out: frozenset[str] = frozenset()


SYSTEMS = {
    "linux": System({"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}, ".so"),
    "windows": System(
        {"x86_64": "x86_64-pc-windows-msvc", "aarch64": "aarch64-pc-windows-msvc"},
        ".dll",
        frozenset({"amx", "avxvnni"}),
    ),
    "macos": System(
        {"x86_64": "x86_64-apple-macosx10.15", "aarch64": "arm64-apple-macosx11.0"},
        ".dylib",
        frozenset({"amx", "avxvnni", "neon"}),  # no Mac has these, or no better ones
    ),
}
#: By sys.platform; Android loads what Linux does.
_NAMES = {"linux": "linux", "android": "linux", "win32": "windows", "darwin": "macos"}


def this_system() -> str:
    """The name of this system in the table; empty if it has none."""
    return _NAMES.get(sys.platform, "")


def systems_of(isa: str) -> list[str]:
    """The systems for which kernels of an instruction set are built ahead."""
    return [name for name, system in SYSTEMS.items() if isa not in system.leaves_out]


def library_name(isa: str, system: str) -> str:
    """The name of an instruction set's library for a system of the table."""
    return f"{system}-{machine_of(isa)}-{isa}{SYSTEMS[system].suffix}"


def machine_of(isa: str) -> str:
    """The architecture for which kernels of an instruction set are built ahead.

    Those for any CPU are for x86-64: every 64-bit ARM has better ones.
    """
    return TARGETS[isa].machine or "x86_64"
