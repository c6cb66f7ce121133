"""What `minibert convert` takes: CPU seconds and peak memory, beside another installation of it if one is given.

    python -m bench.quality.conversion CHECKPOINT... [--before PYTHON] [--flags="--fast"]

Every conversion is a process of its own; installations take turns. CPU seconds are of all threads, BLAS's spinning
ones among them; memory is the peak resident one, pages of the mapped checkpoint included, in MiB beyond its size too.
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


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--before", metavar="PYTHON", help="an interpreter that has another minibert")
    parser.add_argument("--flags", default="", help="of convert, in one string")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pythons = {"before": options.before} if options.before else {}
    pythons["now"] = sys.executable
    flags = shlex.split(options.flags)
    for checkpoint in options.checkpoints:
        source = checkpoint.resolve()
        weights = (
            sum(file.stat().st_size for file in source.iterdir() if file.suffix in (".safetensors", ".bin")) / 2**20
        )
        taken: dict[str, list[Cost]] = {name: [] for name in pythons}
        for name in common.in_turns(list(pythons), options.rounds):
            taken[name].append(convert(pythons[name], source, flags))
        for name, costs in taken.items():
            seconds = statistics.median(one.cpu_seconds for one in costs)
            peak = max(one.peak_mib for one in costs)
            print(
                f"{checkpoint.name:24} {name:7} {seconds:7.1f} CPU-s   peak {peak:6.0f} MiB, {peak - weights:6.0f} "
                f"beyond the weights   file {costs[0].file_bytes / 1e6:6.2f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
