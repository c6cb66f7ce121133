"""What a program with Chroma takes, by minibert and by sentence-transformers: time, peak memory, and packages on disk.

    python -m bench.speed.stacks PYTHON OTHER_PYTHON FOLDER --fill

PYTHON has chromadb, minibert from a wheel and minibert-minilm; OTHER_PYTHON has chromadb and sentence-transformers,
with PyTorch's build for the CPU; FOLDER is all-MiniLM-L6-v2 as a checkpoint. Both make vectors of 100 sentences, and
answer a question (chroma_app.py); in turns, each once before it counts. Time runs from starting the interpreter to its
end.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import common

APP = Path(__file__).with_name("chroma_app.py")


def started(python: str, kind: str, model: str) -> tuple[float, float]:
    """Seconds, and the peak of its resident memory in MiB."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    start = time.perf_counter()
    done = subprocess.run([python, APP, kind, model], env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    answer, peak = done.stdout.splitlines()[-1].split("\t")
    if not answer.startswith("Refunds"):
        sys.exit(f"{kind} answers {answer!r}")
    return seconds, int(peak) / 1024


def packages(python: str) -> float:
    """Megabytes of all packages but pip, the model of minibert's among them."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    kept = (path for path in files if path.suffix != ".pyc" and path.relative_to(folder).parts[0] != "pip")
    return sum(path.stat().st_size for path in kept) / 1e6


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("python")
    parser.add_argument("other_python")
    parser.add_argument("folder", type=Path, help="all-MiniLM-L6-v2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fill", action="store_true", help="write the table into docs/stacks/README.md")
    options = parser.parse_args()
    programs = {
        "minibert": (options.python, "minibert", "minilm"),
        "sentence-transformers": (options.other_python, "sentence-transformers", str(options.folder)),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for name in common.in_turns(programs, options.rounds + 1):
        taken[name].append(started(*programs[name]))
    ratios = [other[0] / own[0] for own, other in zip(*(times[1:] for times in taken.values()), strict=True)]
    model = sum(path.stat().st_size for path in options.folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    rows = []
    for name, (python, *_) in programs.items():
        ratio = 1.0 if name == "minibert" else statistics.median(ratios)
        peak = statistics.median(peak for _, peak in taken[name][1:])
        disk = packages(python) + (0 if name == "minibert" else model / 1e6)
        rows.append([name, f"{ratio:.2f}", f"{peak:.0f} MiB", f"{disk:,.0f} MB"])
    machine = common.describe_machine()
    text = common.table(["Chroma with", "time", "peak memory", "packages and model"], rows)
    text += f"\n\n{machine['cpu']}, {machine['cpus']} CPUs, load {machine['load']}."
    print(text)
    if options.fill:
        common.fill(common.DOCS / "stacks/README.md", __file__, text)


if __name__ == "__main__":
    main()
