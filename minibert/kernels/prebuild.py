"""Kernels for CPUs that are well known, compiled and linked ahead: what the wheel carries.

    python -m minibert.kernels.prebuild minibert/kernels/prebuilt [INSTRUCTION SET...]

Any 64-bit machine makes all of them: numba and LLVM compile for other CPUs and systems, lld links for them. The folder
gets a shared library for each instruction set on Linux, Windows and (where there is Apple's linker or lld's twin of it)
macOS, and a table of their hashes; a machine on which one of them runs needs neither numba nor llvmlite. In a checkout
the folder is used as well, until a source of the kernels changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minibert import __version__
from minibert.errors import BackendError
from minibert.kernels import sources
from minibert.kernels.isa import TARGETS
from minibert.kernels.linking import can_link
from minibert.kernels.systems import library_name, machine_of, systems_of

INSTRUCTION_SETS = tuple(TARGETS)
TABLE = "kernels.json"


def prebuild(
    folder: Path,
    progress: Callable[[str], None] | None = None,
    names: Sequence[str] = INSTRUCTION_SETS,
    *,
    in_wheel: bool = False,
) -> list[Path]:
    """Fill a folder with the libraries of some instruction sets, and their table; the files.

    Args:
        folder: where they are to be.
        progress: is told what has been made.
        names: instruction sets.
        in_wheel: whether they go where nobody changes the sources that lie beside them. Else the table says when those
            were written, and is believed as long as that is so.

    Raises:
        BackendError: one of them cannot be compiled or linked here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = {"version": __version__, "interface": sources.interface(), "sources": sources.sources_hash()}
    if not in_wheel:
        table["stamp"] = sources.stamp()
    files: list[Path] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, libraries in zip(names, pool.map(lambda name: _built(name, folder), names), strict=True):
            if progress:
                progress(f"kernels for {name}: {', '.join(library.name for library in libraries)}")
            files += libraries
    listing = folder / TABLE
    hashes = {library.name: sources.sha256(library.read_bytes()).hexdigest() for library in files}
    listing.write_text(json.dumps({**table, "libraries": hashes}, indent=1) + "\n", encoding="utf-8")
    return [*files, listing]


def _built(name: str, folder: Path) -> list[Path]:
    """The libraries of an instruction set, for all systems that can be linked for; a process can build for one only."""
    machine = machine_of(name)
    systems = [system for system in systems_of(name) if system != "macos" or can_link(system, machine)]
    libraries = [folder / library_name(name, system) for system in systems]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "minibert.kernels.build", name, *map(str, libraries)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BackendError(f"building the kernels for {name} failed: {reason[0]}")
    return libraries


if __name__ == "__main__":
    chosen = sys.argv[2:] or INSTRUCTION_SETS
    for made in prebuild(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr), chosen):
        print(made)
