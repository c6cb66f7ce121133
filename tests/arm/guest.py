"""A pytest plugin for the emulated machine, where no process starts another: carried kernels stand for compiled ones.

The test-suite then runs as it is, on the one instruction set that the core is there for.
"""

from __future__ import annotations

from minibert.engine import cpu, library
from minibert.engine.prebuilt import prebuilt_code, prebuilt_isas

_best = prebuilt_isas()[:1]
cpu.supported_isas = lambda: _best
library.supported_isas = cpu.supported_isas
library.can_compile = lambda: True
library._cached = prebuilt_code
