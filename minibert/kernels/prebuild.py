"""Kernels for CPUs that are well known, compiled and linked ahead: what the wheel carries.

    python -m minibert.kernels.prebuild minibert/kernels/prebuilt [INSTRUCTION SET...]

Any 64-bit machine makes all of them: numba and LLVM compile for other CPUs, lld links for them. The folder gets one
shared library of Linux for each instruction set, and a table of their hashes; a machine on which one of them runs needs
neither numba nor llvmlite. In a checkout the folder is used as well, until a source of the kernels changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from minibert.errors import BackendError
from minibert.kernels.isa import TARGETS
from minibert.kernels.sources import sha256, sources_hash

#: All but the one for any CPU, which is the slowest: NumPy needs nothing compiled.
INSTRUCTION_SETS = tuple(name for name, target in TARGETS.items() if target.machine)
TABLE = "kernels.json"


def prebuild(
    folder: Path, progress: Callable[[str], None] | None = None, names: Sequence[str] = INSTRUCTION_SETS
) -> list[Path]:
    """Fill a folder with the libraries of some instruction sets, and their table; the files.

    Raises:
        BackendError: one of them cannot be compiled or linked here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table: dict[str, str] = {}
    files = []
    for name in names:
        if progress:
            progress(f"kernels for {name}")
        library = folder / f"{name}.so"
        # A process can build for one instruction set only.
        command = [sys.executable, "-m", "minibert.kernels.build", name, str(library)]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
        )
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise BackendError(f"building the kernels for {name} failed: {reason[0]}")
        table[library.name] = sha256(library.read_bytes()).hexdigest()
        files.append(library)
    listing = folder / TABLE
    listing.write_text(json.dumps({"sources": sources_hash(), "libraries": table}, indent=1) + "\n", encoding="utf-8")
    return [*files, listing]


if __name__ == "__main__":
    chosen = sys.argv[2:] or INSTRUCTION_SETS
    for made in prebuild(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr), chosen):
        print(made)
