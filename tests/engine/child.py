"""Running a piece of Python in a process of its own, where imports, threads and memory are its alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PREAMBLE = """
import faulthandler, os, signal, sys, threading
faulthandler.dump_traceback_later(170, exit=True)
import numpy as np
from tests.models import random_model
import minibert.engine.executor
minibert.engine.executor.WORTH_WAKING = 0  # small models, and yet all threads
"""


def run_child(code: str, *, preamble: str = _PREAMBLE, timeout: float = 180, **environment: str) -> str:
    """Run code to its end, assertions and all; returns what it printed.

    Args:
        code: Python, indented as it may be.
        preamble: comes before it.
        timeout: seconds.
        environment: variables besides those of this process.
    """
    outcome = start_child(code, preamble=preamble, **environment)
    out, error = outcome.communicate(timeout=timeout)
    assert outcome.returncode == 0, f"exit status {outcome.returncode}\n{out}\n{error}"
    return out


def start_child(code: str, *, preamble: str = _PREAMBLE, **environment: str) -> subprocess.Popen[str]:
    """Start code in a process of its own."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # NumPy's own threads don't count
    return subprocess.Popen(
        [sys.executable, "-c", preamble + textwrap.dedent(code)],
        env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
