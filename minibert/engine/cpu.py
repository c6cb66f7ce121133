"""Which instruction sets this machine has."""

from __future__ import annotations

import platform
from functools import cache

#: Features (as /proc/cpuinfo names them) that each instruction set of the kernels needs, most capable first.
_X86 = {
    "avx512vnni": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "fma", "bmi2"},
    "avx2": {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"},
}


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU: /proc/cpuinfo on Linux, none elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def supported_isas() -> list[str]:
    """Instruction sets of the kernels that this CPU can run, best first; "portable" always is the last."""
    names = []
    if platform.machine().lower() in ("x86_64", "amd64"):
        names = [name for name, needed in _X86.items() if needed <= cpu_features()]
    return [*names, "portable"]
