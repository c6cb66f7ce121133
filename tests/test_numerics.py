"""The constants of the arithmetic are what they are said to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "bench" / "quality" / "fit_polynomials.py"


def test_polynomials_are_as_near_to_the_best_as_they_were():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
