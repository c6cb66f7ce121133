"""Which instruction sets this machine has."""

from __future__ import annotations

import platform
import sys
from functools import cache

from minibert.kernels.isa import TARGETS, this_machine

#: Bits of AT_HWCAP and AT_HWCAP2 on an ARM CPU, by the names that /proc/cpuinfo has for them.
_HWCAP = {"asimd": 1, "crc32": 7, "atomics": 8, "asimdhp": 10, "asimdrdm": 12, "lrcpc": 15, "asimddp": 20}
_HWCAP2 = {"i8mm": 13}
_AT_HWCAP, _AT_HWCAP2 = 16, 26
#: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) on x86-64.
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU: from the kernel on Linux, those that all Macs of ARM have on macOS, else none."""
    if this_machine() == "aarch64":
        return frozenset(_HWCAP) if sys.platform == "darwin" else _hwcap_features()
    return frozenset(_proc_cpuinfo("flags").split())


def relevant_features() -> frozenset[str]:
    """Those features of this CPU on which the choice of kernels depends."""
    return cpu_features() & frozenset().union(*(target.features for target in TARGETS.values()))


def cpu_name() -> str:
    """What the system calls this CPU, or its architecture."""
    return _proc_cpuinfo("model name") or platform.processor() or platform.machine()


def _proc_cpuinfo(key: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return ""


def _hwcap_features() -> frozenset[str]:
    """Features by AT_HWCAP and AT_HWCAP2: what the kernel vouches for on all cores, also where /proc is hidden."""
    import ctypes

    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return frozenset()
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    found = ((getauxval(_AT_HWCAP), _HWCAP), (getauxval(_AT_HWCAP2), _HWCAP2))
    return frozenset(name for bits, names in found for name, bit in names.items() if bits >> bit & 1)


@cache
def _tile_registers_granted() -> bool:
    """Whether Linux lets this process use AMX's registers: asked for once, for all threads (arch_prctl's manual page).

    It does not before 5.16, nor where a thread's alternate signal stack has no room for them.
    """
    import ctypes

    try:
        return ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0
    except (OSError, AttributeError):
        return False


def supported_isas() -> list[str]:
    """Instruction sets of the kernels that this CPU can run, best first; "portable" always is the last."""
    return [
        name
        for name, target in TARGETS.items()
        if target.machine in ("", this_machine())
        and target.features <= cpu_features()
        and (not target.whole_tiles or _tile_registers_granted())
    ]
