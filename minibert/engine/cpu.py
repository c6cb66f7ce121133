"""Which instruction sets this machine has."""

from __future__ import annotations

import platform
import sys
from functools import cache

#: Features (as /proc/cpuinfo names them) that each instruction set of the kernels needs, most capable first.
_AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "fma", "bmi2"}
_X86 = {
    "amx": _AVX512 | {"amx_tile", "amx_int8"},
    "avx512vnni": _AVX512,
    "avxvnni": {"avx_vnni", "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"},
    "avx2": {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"},
}
#: The same for ARM. Code for a CPU with `asimddp` (the dot products) is that of a Cortex-A76: it may use all of these.
_DOTPROD = {"asimd", "asimddp", "atomics", "asimdhp", "asimdrdm", "lrcpc", "crc32"}
_ARM = {"neon-i8mm": _DOTPROD | {"i8mm"}, "neon-dotprod": _DOTPROD, "neon": {"asimd"}}
#: Bits of the kernel's words on an ARM CPU, AT_HWCAP and AT_HWCAP2, by the names that /proc/cpuinfo has for them.
_HWCAP = {"asimd": 1, "crc32": 7, "atomics": 8, "asimdhp": 10, "asimdrdm": 12, "lrcpc": 15, "asimddp": 20}
_HWCAP2 = {"i8mm": 13}
_AT_HWCAP, _AT_HWCAP2 = 16, 26
#: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) on x86-64.
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


def architecture() -> str:
    """One of "x86_64" and "aarch64"; empty for any other, also for a 32-bit process on a 64-bit system."""
    if sys.maxsize < 1 << 32:
        return ""
    names = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
    return names.get(platform.machine().lower(), "")


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU: from the kernel on Linux, those that all Macs of ARM have on macOS, else none."""
    if architecture() == "aarch64":
        return frozenset(_HWCAP) if sys.platform == "darwin" else _hwcap_features()
    return frozenset(_proc_cpuinfo("flags").split())


def relevant_features() -> frozenset[str]:
    """Those features of this CPU on which the choice of kernels depends."""
    return cpu_features() & frozenset().union(*_X86.values(), *_ARM.values())


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
    words = ((getauxval(_AT_HWCAP), _HWCAP), (getauxval(_AT_HWCAP2), _HWCAP2))
    return frozenset(name for bits, names in words for name, bit in names.items() if bits >> bit & 1)


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
    known = {"x86_64": _X86, "aarch64": _ARM}.get(architecture(), {})
    names = [name for name, needed in known.items() if needed <= cpu_features()]
    if "amx" in names and not _tile_registers_granted():
        names.remove("amx")
    return [*names, "portable"]
