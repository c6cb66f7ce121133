"""How fast each kind of matrix is on the targets of `minibert convert --target`: figures, and their table.

    python -m bench.targets [--mca llvm-mca-19] [--only avx2 pi4]

Measures the instruction sets that this machine has, with the engine's own kernels, on matrices as a conversion stores
them; of ARM's cores LLVM's models are asked (see bench/arm/cycles.py). Writes what it finds into the converter
(budget/targets.json), where targets that cannot be measured here stay as they were, and remakes the table of
docs/COMPRESSION.md. All kinds take turns, and only the thread's own time counts.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bench import common
from bench.arm import cycles
from minibert.engine.cpu import cpu_name, supported_isas
from minibert.engine.crossover import DENSITIES
from minibert.engine.library import kernels
from minibert.engine.memory import aligned
from minibert.engine.timing import LinearTimer
from minibert.kernels.isa import TARGETS
from minibert_converter.budget.targets import MEASURED_TOKENS, NAMES, Target, on_record
from minibert_converter.export import store_linear
from minibert_converter.network import LinearWeights
from minibert_converter.passes.quantize.matrix import BlockForm, quantize_nearest

FIGURES = common.ROOT / "converter/minibert_converter/budget/targets.json"
#: ARM's targets, by the core that LLVM has a model of.
CORES = {"pi3": "Cortex-A53", "pi4": "Cortex-A72", "pi5": "Cortex-A76", "i8mm": "Neoverse N2"}
#: Inputs and outputs of the matrices that are measured, and how many lie in memory: as large as a small model.
_SHAPE, _COPIES = (768, 768), 16
#: The part of its blocks at which a matrix is stored as blocks: none is that sparse.
_NEVER = -1.0
_DENSE: tuple[BlockForm, ...] = ("int8", "int4", "codebook")


def measured(isa: str, duration: float) -> dict[str, Any]:
    """Speeds of an instruction set, times that of the dense int8 product here, by some seconds of rounds."""
    loaded = kernels(isa)

    def timer(form: BlockForm, density: float) -> LinearTimer:
        random = np.random.default_rng(0)
        weight = random.standard_normal(_SHAPE).astype(np.float32)
        weight *= np.kron(random.random((_SHAPE[0] // 4, _SHAPE[1] // 4)) < density, np.ones((4, 4), np.float32))
        linear = quantize_nearest(LinearWeights(weight, np.zeros(_SHAPE[0], np.float32)), form)
        schema, tensors = store_linear("w", linear, 1.0 if density < 1 else _NEVER)
        kept = {name: aligned(tensor) for name, tensor in tensors.items()}
        return LinearTimer(schema, kept, loaded, MEASURED_TOKENS, copies=_COPIES)

    blocks: list[BlockForm] = ["int8", "int4-4x4"]
    timers = {(form, 1.0): timer(form, 1.0) for form in _DENSE}
    timers |= {(form, density): timer(form, density) for density in DENSITIES for form in blocks}
    seconds: dict[tuple[str, float], list[float]] = {key: [] for key in timers}
    end = time.monotonic() + duration
    while not seconds["int8", 1.0] or time.monotonic() < end:
        for key, each in timers.items():
            seconds[key].append(each.run())

    def ratio(slow: tuple[str, float], fast: tuple[str, float]) -> float:
        """Of times in the same round: what else the machine did then hit both."""
        return float(np.median(np.divide(seconds[slow], seconds[fast])))

    dense = ("int8", 1.0)
    return _figures(
        ratio(dense, ("int4", 1.0)),
        ratio(dense, ("codebook", 1.0)),
        [ratio(dense, ("int8", density)) for density in DENSITIES],
        float(np.mean([ratio(("int8", density), ("int4-4x4", density)) for density in DENSITIES])),
        cpu_name(),
    )


def modelled(core: str, mca: str) -> dict[str, Any]:
    """Speeds of a core's inner loops by LLVM's model: cycles of a weight and a row, and of taking its code apart."""
    isa, model = cycles.CORES[core][:2]
    assembly = cycles.assembly_of(isa)
    rates, apart = cycles.rates(assembly, model, mca), cycles.expansions(assembly, model, mca)
    dense, blocks, int4 = (1 / rates.get(kind, rates["dense"]) for kind in cycles.KINDS)
    # Codes are taken apart for each block of rows anew.
    rows = MEASURED_TOKENS / math.ceil(MEASURED_TOKENS / TARGETS[isa].block_rows)
    return _figures(
        dense / (int4 + apart["int4"] / rows),
        dense / (dense + apart["codebook"] / rows),
        [dense / blocks / density for density in DENSITIES],
        blocks / (blocks + apart["int4 blocks"] / rows),
        f"LLVM's model of {model}",
    )


def _figures(int4: float, codebook: float, blocks: Iterable[float], int4_blocks: float, on: str) -> dict[str, Any]:
    """What the converter has of a target: see minibert_converter.budget.targets.Target."""
    return {
        "int4": round(int4, 2),
        "codebook": round(codebook, 2),
        "blocks": [round(ratio, 2) for ratio in blocks],
        "int4_blocks": round(int4_blocks, 2),
        "measured_on": on,
    }


def table(targets: Mapping[str, Target]) -> str:
    """Markdown: a line for each target."""
    header = ["target", "", "measured on", "int4", "codebook"]
    header += ["half of the blocks", "a fifth", "int4, half of the blocks", "a fifth"]
    lines = []
    for name, target in targets.items():
        speeds = [target.int4, target.codebook]
        speeds += [target.speed(form, density) for form in ("int8", "int4") for density in (0.5, 0.2)]
        lines.append([f"`{name}`", target.says, target.measured_on, *(f"{speed:.2f}" for speed in speeds)])
    return common.table(header, lines, words=3)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("--mca", default="llvm-mca", help="LLVM's machine code analyzer, 16 or later")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), metavar="TARGET", help="measure these alone")
    parser.add_argument("--seconds", type=float, default=20.0, help="for an instruction set (default: 20)")
    options = parser.parse_args()
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    for name in options.only or NAMES:
        if name in CORES and shutil.which(options.mca):
            figures[name] = modelled(CORES[name], options.mca)
        elif name not in CORES and NAMES[name][0] in supported_isas():
            figures[name] = measured(NAMES[name][0], options.seconds)
        else:
            common.note(f"{name}: cannot be measured here")
            continue
        common.note(f"{name}: {figures[name]}")
    common.write_json(FIGURES, {name: figures[name] for name in NAMES if name in figures})
    common.fill(common.DOCS / "COMPRESSION.md", __file__, table(on_record()))


if __name__ == "__main__":
    main()
