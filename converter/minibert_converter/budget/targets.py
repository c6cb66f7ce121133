"""How fast each kind of matrix is on the CPUs that models are converted for.

A model is converted on one machine and answers on another, so what is chosen for a target is chosen by figures on
record, in targets.json, which `python -m bench.targets` measures and writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np

from minibert.engine.crossover import DENSITIES, TOKENS, ratios
from minibert.engine.library import chosen_isa
from minibert.errors import InputError
from minibert.options import nearest
from minibert_converter.export import CODEBOOK_DENSITY, SPARSE_THRESHOLD

#: The instruction set of each target's kernels, and what it is, for people, by the name that --target has for it.
NAMES: Mapping[str, tuple[str, str]] = {
    "pi3": ("neon", "Raspberry Pi 3 and Zero 2 (Cortex-A53)"),
    "pi4": ("neon", "Raspberry Pi 4 (Cortex-A72)"),
    "pi5": ("neon-dotprod", "Raspberry Pi 5 (Cortex-A76)"),
    "i8mm": ("neon-i8mm", "ARMv8.6 (Graviton 3, Neoverse N2)"),
    "avx2": ("avx2", "AVX2"),
    "avxvnni": ("avxvnni", "AVX-VNNI"),
    "avx512": ("avx512vnni", "AVX-512 VNNI"),
    "amx": ("amx", "AMX"),
    "portable": ("portable", "any other CPU"),
}
#: Tokens at which speeds are measured.
MEASURED_TOKENS = 64
#: Where the figures are, in the package.
_FIGURES = "budget/targets.json"


@dataclass(frozen=True)
class Target:
    """A CPU as a conversion sees it. Speeds are times that of the dense int8 product on it.

    Attributes:
        isa: the instruction set of its kernels.
        says: what it is, for people.
        int4: of dense int4 matrices.
        codebook: of matrices of codebooks.
        blocks: of blocks of int8, for the parts of them that are left as in DENSITIES.
        int4_blocks: of blocks of four bits, times that of the same blocks of int8.
        measured_on: the CPU that was measured, or the model of one.
    """

    isa: str
    says: str
    int4: float
    codebook: float
    blocks: tuple[float, ...]
    int4_blocks: float
    measured_on: str

    def speed(self, form: str, density: float = 1.0) -> float:
        """Of a matrix in a form ("int8", "int4" or "codebook"), of whose 4x4 blocks so many hold a weight."""
        if not stored_as_blocks(form, density):
            return {"int8": 1.0, "int4": self.int4, "codebook": self.codebook}[form]
        # Sparser than the sparsest that was measured: as fast as that.
        blocks = float(np.interp(density, DENSITIES[::-1], self.blocks[::-1]))
        # Of blocks of int8 the engine takes a dense copy where that is faster.
        return blocks * self.int4_blocks if form == "int4" else max(blocks, 1.0)


def stored_as_blocks(form: str, density: float) -> bool:
    """Whether a matrix in a form is stored as blocks, if so many of its 4x4 blocks hold a weight."""
    return density <= (CODEBOOK_DENSITY if form == "codebook" else SPARSE_THRESHOLD)


def on_record() -> dict[str, Target]:
    """All targets by name, with the figures that the file has now."""
    figures: dict[str, dict[str, Any]] = json.loads(
        resources.files("minibert_converter").joinpath(_FIGURES).read_text(encoding="utf-8")
    )
    found = {name: {**each, "blocks": tuple(each["blocks"])} for name, each in figures.items()}
    return {name: Target(*NAMES[name], **each) for name, each in found.items()}


#: By the name that --target has for it.
TARGETS: Mapping[str, Target] = on_record()


def find_target(name: str | None) -> Target:
    """The target that --target names; None is this machine.

    Raises:
        InputError: there is none of this name.
    """
    if name is None:
        return this_machine()
    if name not in TARGETS:
        near = nearest(name, TARGETS)
        hint = f"did you mean {near!r}? " if near else ""
        raise InputError(f"there is no target {name!r}: {hint}there are {', '.join(TARGETS)}")
    return TARGETS[name]


def this_machine() -> Target:
    """The target that this machine is, with the speeds of blocks that it has measured of itself, if it has."""
    isa = chosen_isa()
    # Of several the last: without dot products a Cortex-A72, where less is gained by four bits.
    own = {target.isa: target for target in TARGETS.values()}[isa]
    found = ratios(isa)
    if found.measured:
        column = TOKENS.index(MEASURED_TOKENS)
        own = replace(own, blocks=tuple(row[column] for row in found.ratios))
    return replace(own, says=f"this machine ({own.says})")
