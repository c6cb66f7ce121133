"""Instruction sets: for each, the few words from which the microkernels are generated.

`select` names the instruction set before any kernel module is imported; a process builds for one of them.
"""

from __future__ import annotations

from minibert.errors import UnsupportedError
from minibert.kernels.isa.base import Isa

_selected: Isa | None = None


def available() -> dict[str, Isa]:
    """All instruction sets by name, most capable first."""
    from minibert.kernels.isa import amx, avx2, avx512vnni, avxvnni, neon, neon_dotprod, neon_i8mm, portable

    modules = (amx, avx512vnni, avxvnni, avx2, neon_i8mm, neon_dotprod, neon, portable)
    return {module.ISA.name: module.ISA for module in modules}


def select(name: str) -> Isa:
    """Choose the instruction set that this process builds kernels for.

    Raises:
        UnsupportedError: no such instruction set.
    """
    global _selected
    known = available()
    if name not in known:
        raise UnsupportedError(f"no kernels for instruction set {name!r}: there are {', '.join(known)}")
    _selected = known[name]
    return _selected


def current() -> Isa:
    """The selected instruction set."""
    if _selected is None:
        raise RuntimeError("select an instruction set before importing the kernels")
    return _selected
