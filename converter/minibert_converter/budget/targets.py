"""How fast each kind of matrix is on the CPUs that models are converted for: the one home of these figures.

A model is converted on one machine and answers on another, so what is chosen for a target is chosen by figures on
record. Each is a speed as a part of the dense int8 product's on the same CPU, and names the command that measured it;
whoever measures anew, after a change of the kernels or on a board, writes them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from minibert.engine.crossover import DENSITIES, TOKENS, ratios
from minibert.engine.library import chosen_isa
from minibert.errors import InputError
from minibert_converter.export import CODEBOOK_DENSITY, SPARSE_THRESHOLD

#: Tokens at which the speed of blocks is taken from what this machine has measured of itself.
_TOKENS = 64
#: How fast blocks of four bits are: int8 is what they become when a model is loaded.
_AS_INT8 = 1.0


@dataclass(frozen=True)
class Target:
    """A CPU as a conversion sees it. All speeds are times that of the dense int8 product.

    Attributes:
        says: what it is, for people.
        isa: the instruction set of its kernels.
        int4: of dense int4 matrices.
        codebook: of matrices of codebooks.
        blocks: of blocks of int8, for the parts of them that are left as in DENSITIES; where it is below 1 the engine
            takes a dense copy.
        int4_blocks: of blocks of four bits, times that of the same blocks of int8.
        measured: the commands that measured dense matrices, and blocks.
    """

    says: str
    isa: str
    int4: float
    codebook: float
    blocks: tuple[float, ...]
    int4_blocks: float
    measured: tuple[str, str]

    def speed(self, form: str, density: float = 1.0) -> float:
        """Of a matrix in a form ("int8", "int4" or "codebook"), of whose 4x4 blocks so many hold a weight."""
        if not stored_as_blocks(form, density):
            return {"int8": 1.0, "int4": self.int4, "codebook": self.codebook}[form]
        # Sparser than the sparsest that was measured: as fast as that.
        blocks = float(np.interp(density, DENSITIES[::-1], self.blocks[::-1]))
        return max(blocks * (self.int4_blocks if form == "int4" else 1.0), 1.0)


def _core(says: str, isa: str, int8: float, blocks: float, int4: float, int4_blocks: float = _AS_INT8) -> Target:
    """A target by the multiply-adds that its kernels do in a cycle; codebooks are expanded to int8 before."""
    command = "python -m bench.arm.cycles"
    of_blocks = tuple([round(blocks / int8 / density, 2) for density in DENSITIES])
    return Target(says, isa, round(int4 / int8, 2), 1.0, of_blocks, int4_blocks, (command, command))


def _measured(
    says: str, isa: str, int4: float, codebook: float, blocks: tuple[float, ...], int4_blocks: float = _AS_INT8
) -> Target:
    """A target by what was measured on one."""
    commands = f"python -m bench.speed.peak --isa {isa}", f"MINIBERT_ISA={isa} minibert bench --kernels"
    return Target(says, isa, int4, codebook, blocks, int4_blocks, commands)


def stored_as_blocks(form: str, density: float) -> bool:
    """Whether a matrix in a form is stored as blocks, if so many of its 4x4 blocks hold a weight."""
    return density <= (CODEBOOK_DENSITY if form == "codebook" else SPARSE_THRESHOLD)


#: By the name that --target has for it.
TARGETS: Mapping[str, Target] = {
    # Multiply-adds in a cycle of the inner loops, by LLVM's models: dense int8, blocks of int8, dense int4.
    "pi3": _core("Raspberry Pi 3 and Zero 2 (Cortex-A53)", "neon", 4.1, 3.9, 5.2),
    "pi4": _core("Raspberry Pi 4 (Cortex-A72)", "neon", 8.0, 8.0, 7.5),
    "pi5": _core("Raspberry Pi 5 (Cortex-A76)", "neon-dotprod", 32.0, 31.9, 32.0),
    "i8mm": _core("ARMv8.6 (Graviton 3, Neoverse N2)", "neon-i8mm", 39.4, 31.9, 39.4),
    # Of a Xeon with all of these: products of 48 rows by dense matrices in the caches, of 64 rows by blocks.
    "avx2": _measured("AVX2", "avx2", 1.6, 0.99, (1.2, 1.73, 3.35, 7.09)),
    "avxvnni": _measured("AVX-VNNI", "avxvnni", 0.94, 0.98, (1.47, 2.13, 4.05, 8.14)),
    "avx512": _measured("AVX-512 VNNI", "avx512vnni", 0.92, 0.94, (1.02, 1.52, 2.51, 4.67)),
    "amx": _measured("AMX", "amx", 0.76, 0.81, (0.51, 0.77, 1.37, 2.44)),
}


def find_target(name: str | None) -> Target:
    """The target that --target names; None is this machine.

    Raises:
        InputError: there is none of this name.
    """
    if name is None:
        return this_machine()
    if name not in TARGETS:
        raise InputError(f"there is no target {name!r}: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def this_machine() -> Target:
    """The target that this machine is, with the speeds of blocks that it has measured of itself, if it has."""
    isa = chosen_isa()
    # Of several the last: without dot products a Cortex-A72, where less is gained by four bits.
    known = {target.isa: target for target in TARGETS.values()}
    own = known.get(isa, Target(isa, isa, 1.0, 1.0, (), _AS_INT8, ("nobody", "nobody")))
    found = ratios(isa)
    if isa not in known or found.measured:
        column = TOKENS.index(_TOKENS)
        own = replace(own, blocks=tuple(row[column] for row in found.ratios))
    return replace(own, says=f"this machine ({own.says})")
