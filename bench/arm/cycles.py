"""Multiply-adds a cycle of the ARM kernels' inner loops, by LLVM's models of the cores: no board, no emulator.

    python -m bench.arm.cycles [--mca llvm-mca-19]

Compiles the kernels to assembly, takes their innermost loops and asks llvm-mca (16 or later) how many cycles a pass
takes. Loops are told apart by what they multiply: bytes in steps of 4 panels or more are linears, single steps are
attention and 4x4 blocks. The exit status is 1 if a core falls short of what it is held to; if none does, the table of
docs/RASPBERRY_PI.md is remade.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench import common

#: Core: instruction set, LLVM's model (a Neoverse N1 is a Cortex-A76), and least MAC/cycle of dense int8, of 4x4 blocks
#: and of int4, whose codes are multiplied as they are where there are no dot products.
CORES = {
    "Neoverse N2": ("neon-i8mm", "neoverse-n2", 36.0, 22.5, None),
    "Cortex-A76": ("neon-dotprod", "neoverse-n1", 30.0, 22.5, None),
    "Cortex-A72": ("neon", "cortex-a72", 7.5, 5.6, 7.4),
    "Cortex-A53": ("neon", "cortex-a53", 4.0, 3.0, 5.2),
}
#: Multiply-adds of one instruction.
_MACS = [(r"smmla\s+v\d+\.4s", 32), (r"sdot\s+v\d+\.4s", 16), (r"sm(?:ull|lal)2?\s+v\d+\.8h", 8)]
_ITERATIONS = 1000
#: Weights that one instruction looks up.
_LOOKED_UP = 16
KINDS = ("dense", "4x4 blocks", "int4")


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes:
        body: its instructions.
        macs: multiply-adds of bytes in one pass.
        kind: what it multiplies.
    """

    body: list[str]
    macs: int
    kind: str


def inner_loops(assembly: str) -> list[Loop]:
    """The innermost loops that multiply bytes."""
    loops = []
    for body in innermost(assembly):
        macs = sum(count for each in body for pattern, count in _MACS if re.match(rf"\s+{pattern}", each))
        if macs:
            loops.append(Loop(body, macs, _kind(body)))
    return loops


def innermost(assembly: str) -> list[list[str]]:
    """The instructions of each innermost loop."""
    lines = [line.split("//")[0].rstrip() for line in assembly.splitlines()]
    labels = {found[1]: number for number, line in enumerate(lines) if (found := re.match(r"(\.L\w+):", line))}
    loops = []
    for number, line in enumerate(lines):
        jump = re.match(r"\s+(?:b\.?\w*|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
        if not jump or labels.get(jump[1], number) >= number:
            continue
        body = lines[labels[jump[1]] : number + 1]
        if sum(each.startswith(".L") for each in body) > 1:
            continue
        loops.append([each for each in body if re.match(r"\s+[a-z]", each)])
    return loops


def _kind(instructions: list[str]) -> str:
    """Blocks are told by the index that is read, groups of int4 by lanes of products that are added in the end."""
    if any("ldrh" in each for each in instructions):
        return "4x4 blocks"
    return "int4" if any(re.match(r"\s+addp\s+v\d+\.8h", each) for each in instructions) else "dense"


def cycles(body: list[str], model: str, mca: str) -> float:
    """Cycles of one pass through a loop, without the jump's target."""
    text = "\n".join(re.sub(r"(?<!:)\.L\w+", "0", each) for each in body) + "\n"
    command = [
        mca,
        "-mtriple=aarch64-linux-gnu",
        "-mattr=+dotprod,+i8mm",
        f"-mcpu={model}",
        f"-iterations={_ITERATIONS}",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1]) / _ITERATIONS


def rates(assembly: str, model: str, mca: str) -> dict[str, float]:
    """Multiply-adds a cycle, by kind, of the inner loops that there are."""
    loops = inner_loops(assembly)
    found = {}
    for kind in KINDS:
        of_kind = [loop for loop in loops if loop.kind == kind]
        # The widest tile does nearly all of the work; the lower ones finish the last rows.
        most = max((loop.macs for loop in of_kind), default=0)
        if most:
            found[kind] = min(loop.macs / cycles(loop.body, model, mca) for loop in of_kind if loop.macs == most)
    return found


def expansions(assembly: str, model: str, mca: str) -> dict[str, float]:
    """Cycles in which the codes of one weight become int8, by kind: "codebook", "int4" and "int4 blocks".

    Where codes of int4 are multiplied as they are, they are only taken apart.
    """
    found = {}
    for body in innermost(assembly):
        looked_up = sum(bool(re.match(r"\s+tbl\s+v\d+\.16b", each)) for each in body)
        if not looked_up or not any(re.match(r"\s+ushll2?\s.*#4", each) for each in body):
            continue
        multiplies = any(re.match(r"\s+mul\s+v\d+\.8h", each) for each in body)
        fetches = any(re.match(r"\s+prfm\s", each) for each in body)  # what is multiplied next: blocks are not
        kind = {(True, True): "int4", (False, True): "codebook", (True, False): "int4 blocks"}.get(
            (multiplies, fetches)
        )
        found[kind or "int4 apart"] = cycles(body, model, mca) / (looked_up * _LOOKED_UP)
    found["int4"] = found.pop("int4 apart", found["int4"])
    return found


@cache
def assembly_of(isa: str) -> str:
    """The kernels' assembly."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.s"
        subprocess.run([sys.executable, "-m", "minibert.kernels.build", isa, str(target)], check=True)
        return target.read_text()


def main() -> int:
    """Print a line for each core and kind of loop; 1 if one falls short."""
    parser = common.command_line(__doc__)
    parser.add_argument("--mca", default="llvm-mca", help="LLVM's machine code analyzer, 16 or later")
    mca = parser.parse_args().mca
    short = False
    rows = []
    for core, (isa, model, *least) in CORES.items():
        found = rates(assembly_of(isa), model, mca)
        cells = []
        for kind, wanted in zip(KINDS, least, strict=True):
            if wanted is None:
                cells.append("as int8")
                continue
            rate = found[kind]
            short |= rate < wanted
            verdict = "" if rate >= wanted else "  TOO SLOW"
            print(f"{core}  {kind:<10}  {rate:6.2f} MAC/cycle; at least {wanted}{verdict}")
            cells.append(f"{rate:.1f} MAC/cycle")
        rows.append([core, *cells])
    if not short:
        table = common.table(["core", "dense int8", "4x4 blocks, per block that is left", "dense int4"], rows)
        common.fill(common.DOCS / "RASPBERRY_PI.md", __file__, table)
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
