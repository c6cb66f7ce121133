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
#: PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE and PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE of Windows.
_PF_DOTPROD, _PF_I8MM = 43, 66
#: NumPy's names of an x86 CPU's features, by those that /proc/cpuinfo has.
_OF_NUMPY = {
    "avx2": "AVX2",
    "fma": "FMA3",
    "f16c": "F16C",
    "bmi1": "BMI",
    "bmi2": "BMI2",
    "movbe": "MOVBE",
    **{name: name.upper() for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd")},
    "avx512_vnni": "AVX512VNNI",
}
#: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) on x86-64.
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU, as /proc/cpuinfo has them: from what the system vouches for, or else from NumPy.

    A system that says nothing of an ARM CPU leaves it those that every 64-bit one has.
    """
    machine = this_machine()
    if machine == "x86_64":
        return frozenset(_proc_cpuinfo("flags").split()) or _numpy_features()
    if machine != "aarch64":
        return frozenset()
    if sys.platform == "darwin":  # all but one are those of every Mac of ARM
        return frozenset(_HWCAP) | ({"i8mm"} if _sysctl("hw.optional.arm.FEAT_I8MM") else frozenset())
    if sys.platform == "win32":
        return _windows_features()
    return _hwcap_features() or frozenset({"asimd"})


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


def _numpy_features() -> frozenset[str]:
    """What NumPy found out about an x86 CPU, by asking itself: where there is no /proc, and on other systems."""
    names = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")  # the latter in NumPy 1
    numpy_core = next((sys.modules[name] for name in names if name in sys.modules), None)
    table: dict[str, bool] = getattr(numpy_core, "__cpu_features__", {})
    found = {name for name, others in _OF_NUMPY.items() if table.get(others)}
    if "BMI2" not in table and {"avx2", "fma"} <= found:  # before NumPy 2.4; no CPU has those without these
        found |= {"bmi1", "bmi2", "movbe"}
    return frozenset(found)


def _sysctl(name: str) -> int:
    """A number that macOS knows by a name; 0 if it doesn't."""
    import ctypes

    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    try:
        ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    except (OSError, AttributeError):
        return 0
    return value.value


def _windows_features() -> frozenset[str]:
    """Of an ARM CPU, by IsProcessorFeaturePresent: it knows of the dot products, which come with all that NEON has."""
    import ctypes

    has = getattr(ctypes, "WinDLL")("kernel32").IsProcessorFeaturePresent  # noqa: B009 - only Windows has it
    features = frozenset(_HWCAP) if has(_PF_DOTPROD) else frozenset({"asimd"})
    return features | ({"i8mm"} if has(_PF_I8MM) else frozenset())


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
