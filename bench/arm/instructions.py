"""Instructions that an emulated Raspberry Pi needs: from Python's start to the first answer, and for a forward pass.

    MINIBERT_ARM=/path/to/arm python -m bench.arm.instructions model.safetensors [--onnxruntime FOLDER MODEL.onnx]

`$MINIBERT_ARM CPU SCRIPT ARGUMENTS...` runs Python on an emulated core, as for tests/arm, by an emulator that counts:
QEMU with a plugin that prints `ICOUNT 0.1234 G` at the end, or QEMU's own libinsn (`total insns: 123400000`). FOLDER
holds onnxruntime's package for aarch64. A forward pass is the difference between a process that makes three and one
that makes one. One thread; no seconds, so other work on the machine changes nothing. The exit status is 1 if minibert
needs more than its budget, or more than onnxruntime. With onnxruntime and all cores, the table of docs/RASPBERRY_PI.md
is remade.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import common
from bench.speed.peers import HERE
from bench.speed.startup import TEXT

#: The most that a start may take, and a forward pass of MiniLM by its number of tokens, in 10^9 instructions.
BUDGETS = {
    "cortex-a72": {"start": 0.60, 16: 0.050, 128: 0.43},
    "cortex-a76": {"start": 0.58, 16: 0.020, 128: 0.18},
}
_COUNTED = re.compile(r"ICOUNT ([\d.]+) G|total insns: (\d+)")


def count(core: str, packages: Sequence[str | Path], *arguments: str) -> float:
    """10^9 instructions of first_answer.py with some arguments."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MINIBERT_", "PYTHON"))}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = "1"
    environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
    command = [os.environ["MINIBERT_ARM"], core, str(HERE / "first_answer.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = _COUNTED.search(done.stderr + done.stdout)
    if done.returncode or not found:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-500:] or 'the emulator did not say how much it counted'}")
    return float(found[1]) if found[1] else int(found[2]) / 1e9


def measure(
    core: str, packages: Sequence[str | Path], runtime: str, model: str, tokenizer: Path
) -> dict[str | int, float]:
    """10^9 instructions of a start and of forward passes."""
    answer = partial(count, core, packages, runtime, model, "1", str(tokenizer))
    answer(TEXT)  # writes what Python compiles
    found: dict[str | int, float] = {"start": answer(TEXT)}
    for tokens in (16, 128):
        found[tokens] = (answer(str(tokens), "3") - answer(str(tokens), "1")) / 2
    return found


def main() -> int:
    """Print a line for each core, runtime and figure; 1 if a budget is exceeded."""
    parser = common.command_line(__doc__)
    parser.add_argument("model", help="a MiniLM of six layers, converted to int8")
    parser.add_argument("--package", type=Path, default=common.ROOT, help="folder that holds minibert with its kernels")
    parser.add_argument("--onnxruntime", nargs=2, metavar=("FOLDER", "MODEL"), help="its package, and the same model")
    parser.add_argument("--core", choices=BUDGETS, action="append", help="default: all")
    options = parser.parse_args()
    if "MINIBERT_ARM" not in os.environ:
        parser.error("MINIBERT_ARM names no emulator: see docs/RASPBERRY_PI.md")
    from minibert.format import read_model

    exceeded = False
    rows = []
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        tokenizer.write_text(read_model(options.model).tokenizer_json(), encoding="utf-8")
        for core in options.core or BUDGETS:
            own = measure(core, [options.package], "minibert", options.model, tokenizer)
            peer = None
            if options.onnxruntime:
                package, model = options.onnxruntime
                peer = measure(core, [package], "onnxruntime", model, tokenizer)
            for what, needed in own.items():
                budget = BUDGETS[core][what]
                title = "start" if what == "start" else f"{what} tokens"
                line = f"{core}  {title:<10}  {needed:.4f} G of {budget:.3f} G"
                if peer:
                    rows.append([core, title, f"{needed:.3f}", f"{peer[what]:.3f}", f"{needed / peer[what]:.2f}"])
                    line += f"   onnxruntime {peer[what]:.4f} G   ratio {rows[-1][-1]}"
                too_many = needed > min(budget, peer[what] if peer else budget)
                exceeded |= too_many
                print(line + ("   TOO MANY" if too_many else ""), flush=True)
    if options.onnxruntime and not options.core:
        table = common.table(["core", "", "minibert", "onnxruntime (int8)", "ratio"], rows, words=2)
        common.fill(common.DOCS / "RASPBERRY_PI.md", __file__, table)
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
