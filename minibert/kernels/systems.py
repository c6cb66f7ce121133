"""Systems that kernels are built for ahead, by one compiler on any machine: the one table of them, without numba."""

from __future__ import annotations

import sys

from minibert.kernels.isa import TARGETS
from minibert.tuples import NamedTuple


class System(NamedTuple):
    """What loads a library.

    Attributes:
        triple: LLVM's name of it, behind the architecture.
        suffix: how its libraries' names end.
    """

    triple: str
    suffix: str


SYSTEMS = {"linux": System("unknown-linux-gnu", ".so")}
_NAMES = {"linux": "linux", "android": "linux"}


def this_system() -> str:
    """The name of this system in the table; empty if it has none."""
    return _NAMES.get(sys.platform, "")


def library_name(isa: str, system: str) -> str:
    """The name of an instruction set's library for a system of the table."""
    return f"{system}-{machine_of(isa)}-{isa}{SYSTEMS[system].suffix}"


def machine_of(isa: str) -> str:
    """The architecture for which kernels of an instruction set are built ahead.

    Those for any CPU are for x86-64: every 64-bit ARM has better ones.
    """
    return TARGETS[isa].machine or "x86_64"
