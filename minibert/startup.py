"""Where the time of a fresh process goes before its first answer.

    python -m minibert.startup FILE

prints the stages of one start as JSON; `measure` does it several times and takes the medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from minibert import isolated

#: In the order in which a process goes through them.
STAGES = ("python", "numpy", "minibert", "file", "kernels", "tokenizer", "answer")
_SENTENCE = "the quick brown fox jumps over the lazy dog while nobody is looking"


def measure(path: str | Path, rounds: int = 7, backend: str | None = None) -> dict[str, float]:
    """Seconds of each of STAGES and of "total", medians of fresh processes, once caches are warm.

    Raises:
        RuntimeError: a process died; with its last words.
    """
    runs = [_start(path, backend) for _round in range(rounds + 1)][1:]
    return {name: statistics.median(run[name] for run in runs) for name in (*STAGES, "total")}


def _start(path: str | Path, backend: str | None) -> dict[str, float]:
    start = time.time()
    command = isolated.command("minibert.startup", str(path), *([backend] if backend else []))
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr.strip().splitlines()[-1])
    marks = json.loads(child.stdout)
    # Clocks of wall time are the same in both processes.
    times = [start, *(marks[name] for name in STAGES)]
    return {name: after - before for name, before, after in zip(STAGES, times, times[1:], strict=False)} | {
        "total": times[-1] - start
    }


def main() -> None:
    """Start, stage by stage, and print when each was done."""
    marks = {"python": time.time()}
    import numpy  # noqa: F401

    marks["numpy"] = time.time()
    import minibert

    minibert.load  # noqa: B018 - comes with its modules on first use
    marks["minibert"] = time.time()
    model = minibert.load(sys.argv[1], backend=sys.argv[2] if len(sys.argv) > 2 else None)
    marks["file"] = time.time()
    model.engine.warmup()
    marks["kernels"] = time.time()
    ids = model.tokenizer.encode(_SENTENCE).ids
    marks["tokenizer"] = time.time()
    model.forward([ids])
    marks["answer"] = time.time()
    sys.stdout.write(json.dumps(marks))


if __name__ == "__main__":
    main()
