"""What `minibert convert` takes: CPU seconds and peak memory, beside another installation of it if one is given.

    python -m bench.quality.conversion NAME=CHECKPOINT... [--before PYTHON] [--flags="--fast"] [--page]

Every conversion is a process of its own; installations take turns. CPU seconds are of all threads, BLAS's spinning
ones among them; memory is the peak resident one, pages of the mapped checkpoint included, beside what its weights take.
--page puts the table into docs/COMPRESSION.md.
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import common


@dataclass(frozen=True)
class Cost:
    """Of one conversion.

    Attributes:
        cpu_seconds: of user and system, all threads.
        peak_mib: resident.
        file_bytes: of what was made.
    """

    cpu_seconds: float
    peak_mib: float
    file_bytes: int


def convert(python: str, checkpoint: Path, flags: Sequence[str]) -> Cost:
    """Converts once."""
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        made = Path(folder) / "model.safetensors"
        command = [python, "-m", "minibert", "convert", str(checkpoint), "-o", str(made), *flags]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr
        said = process.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{shlex.join(command)} failed: {said.strip().splitlines()[-1:]}")
        return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, made.stat().st_size)


def _checkpoint(value: str) -> tuple[str, Path]:
    name, equals, path = value.partition("=")
    return (name, Path(path).resolve()) if equals else (Path(value).name, Path(value).resolve())


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=_checkpoint, metavar="NAME=CHECKPOINT")
    parser.add_argument("--before", metavar="PYTHON", help="an interpreter that has another minibert")
    parser.add_argument("--flags", action="append", help="of convert, in one string (default: none, then --fast)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="put the table into docs/COMPRESSION.md")
    options = parser.parse_args()
    machine = common.describe_machine()
    pythons = {"before": options.before} if options.before else {}
    pythons["now"] = sys.executable
    rows = []
    for name, checkpoint in options.checkpoints:
        files = [file for file in checkpoint.iterdir() if file.suffix in (".safetensors", ".bin")]
        weights = sum(file.stat().st_size for file in files) / 2**20
        for flags in options.flags or ["", "--fast"]:
            # What came before has no flag that is newer.
            able = {key: python for key, python in pythons.items() if key == "now" or "--fast" not in flags}
            taken: dict[str, list[Cost]] = {key: [] for key in able}
            for key in common.in_turns(list(able), options.rounds):
                taken[key].append(convert(able[key], checkpoint, shlex.split(flags)))
            for key, costs in taken.items():
                seconds = statistics.median(one.cpu_seconds for one in costs)
                peak = max(one.peak_mib for one in costs)
                what = " ".join([f"`{flags}`" if flags else "int8", *([key] if len(pythons) > 1 else [])])
                rows.append([name, what, f"{seconds:.1f}", f"{peak:.0f}", f"{weights:.0f}"])
                common.note(" | ".join(rows[-1]))
    made = common.table(["checkpoint", "as", "CPU seconds", "peak, MiB", "of its weights, MiB"], rows, 2)
    text = f"{made}\n\n{machine['cpu']}, {machine['cpus']} CPUs; {machine['date']}, revision {machine['revision']}."
    print(text)
    if options.page:
        common.fill(common.DOCS / "COMPRESSION.md", __file__, text)


if __name__ == "__main__":
    main()
