"""Which kernels a CPU gets on each system, by what that system says of it."""

from __future__ import annotations

import builtins
import ctypes
import io
import platform
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from minibert.engine import cpu
from minibert.kernels import isa
from minibert.kernels.prebuild import INSTRUCTION_SETS
from minibert.kernels.systems import SYSTEMS, library_name, machine_of, systems_of, this_system

HASWELL = "avx2 fma bmi1 bmi2 f16c movbe"
SKYLAKE = f"{HASWELL} avx512f avx512bw avx512dq avx512vl avx512cd"
CASCADE_LAKE = f"{SKYLAKE} avx512_vnni"
ALDER_LAKE = f"{HASWELL} avx_vnni"
SAPPHIRE_RAPIDS = f"{CASCADE_LAKE} avx_vnni amx_tile amx_int8"
A72, A76, N2 = "asimd crc32", "asimd crc32 atomics asimdhp asimdrdm lrcpc asimddp", "i8mm"

#: System, architecture, CPU: what each means of asking says; the best instruction set.
MATRIX = [
    ("linux", "x86_64", "", "portable"),
    ("linux", "x86_64", HASWELL, "avx2"),
    ("linux", "x86_64", ALDER_LAKE, "avxvnni"),
    ("linux", "x86_64", SKYLAKE, "avx2"),
    ("linux", "x86_64", CASCADE_LAKE, "avx512vnni"),
    ("linux", "x86_64", SAPPHIRE_RAPIDS, "amx"),
    ("linux", "aarch64", A72, "neon"),
    ("linux", "aarch64", A76, "neon-dotprod"),
    ("linux", "aarch64", f"{A76} {N2}", "neon-i8mm"),
    ("android", "aarch64", A76, "neon-dotprod"),
    ("linux without /proc", "x86_64", "", "portable"),
    ("linux without /proc", "x86_64", HASWELL, "avx2"),
    ("linux without /proc", "x86_64", SAPPHIRE_RAPIDS, "avx512vnni"),
    ("linux without getauxval", "aarch64", A76, "neon"),
    ("darwin", "x86_64", "", "portable"),
    ("darwin", "x86_64", HASWELL, "avx2"),
    ("darwin", "x86_64", CASCADE_LAKE, "avx512vnni"),
    ("darwin", "arm64", A76, "neon-dotprod"),
    ("darwin", "arm64", f"{A76} {N2}", "neon-i8mm"),
    ("win32", "AMD64", "", "portable"),
    ("win32", "AMD64", HASWELL, "avx2"),
    ("win32", "AMD64", SAPPHIRE_RAPIDS, "avx512vnni"),
    ("win32", "ARM64", A72, "neon"),
    ("win32", "ARM64", A76, "neon-dotprod"),
    ("win32", "ARM64", f"{A76} {N2}", "neon-i8mm"),
    ("win32, emulating", "AMD64", HASWELL, "avx2"),
    ("linux", "riscv64", "", "portable"),
    ("freebsd14", "amd64", HASWELL, "avx2"),
]


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine look like another."""

    def pretend(system: str, architecture: str, features: str, numpy_version: int = 24) -> None:
        has = set(features.split())
        name, _, peculiarity = system.partition(" ")
        name = name.removesuffix(",")
        monkeypatch.setattr(sys, "platform", name)
        monkeypatch.setattr(platform, "machine", lambda: "ARM64" if peculiarity == "emulating" else architecture)
        monkeypatch.setattr(sys, "version", f"3.13 [MSC v.1941 64 bit ({architecture})]" if name == "win32" else "3.13")
        monkeypatch.setattr(sys, "maxsize", (1 << 63) - 1)

        def opened(path, *arguments, **options):
            if path == "/proc/cpuinfo":
                if name != "linux" or peculiarity == "without /proc":
                    raise FileNotFoundError(path)
                return io.StringIO(f"processor\t: 0\nflags\t\t: {features}\n")
            return real_open(path, *arguments, **options)

        real_open = builtins.open
        monkeypatch.setattr(builtins, "open", opened)
        core = np._core._multiarray_umath if hasattr(np, "_core") else np.core._multiarray_umath
        table = {numpys: ours in has for ours, numpys in cpu._OF_NUMPY.items()}
        if numpy_version < 24:
            table = {key: value for key, value in table.items() if not key.startswith(("BMI", "MOVBE"))}
        monkeypatch.setattr(core, "__cpu_features__", table)

        def getauxval(kind: int) -> int:
            bits = {cpu._AT_HWCAP: cpu._HWCAP, cpu._AT_HWCAP2: cpu._HWCAP2}[kind]
            return sum(1 << bit for each, bit in bits.items() if each in has)

        def sysctlbyname(asked, value, _size, _new, _length) -> int:
            assert asked == b"hw.optional.arm.FEAT_I8MM"
            value._obj.value = int("i8mm" in has)
            return 0

        functions = {"syscall": lambda *_: 0, "sysctlbyname": sysctlbyname}
        if peculiarity != "without getauxval":
            functions["getauxval"] = getauxval
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(**functions))
        present = {cpu._PF_DOTPROD: "asimddp" in has, cpu._PF_I8MM: "i8mm" in has}
        kernel32 = SimpleNamespace(IsProcessorFeaturePresent=present.__getitem__)
        monkeypatch.setattr(ctypes, "WinDLL", lambda _name: kernel32, raising=False)
        cpu.cpu_features.cache_clear()
        cpu._tile_registers_granted.cache_clear()

    yield pretend
    monkeypatch.undo()
    cpu.cpu_features.cache_clear()
    cpu._tile_registers_granted.cache_clear()


@pytest.mark.parametrize(("system", "architecture", "features", "best"), MATRIX)
def test_every_cpu_gets_its_best_kernels(machine, system, architecture, features, best):
    machine(system, architecture, features)
    found = cpu.supported_isas()
    assert found[0] == best
    assert found[-1] == "portable"
    assert {machine_of(each) for each in found[:-1]} <= {isa.this_machine()}
    if this_system() and isa.this_machine() and best != "portable":
        # Whatever a machine can tell of itself is carried for it.
        assert this_system() in systems_of(best)


@pytest.mark.parametrize("features", [HASWELL, CASCADE_LAKE])
def test_what_numpy_did_not_tell_before(machine, features):
    machine("win32", "AMD64", features, numpy_version=20)
    best = cpu.supported_isas()
    machine("win32", "AMD64", features)
    assert cpu.supported_isas() == best != ["portable"]


def test_numpy_agrees_with_linux():
    if sys.platform != "linux" or isa.this_machine() != "x86_64":
        pytest.skip("needs both")
    assert cpu._numpy_features() <= cpu.cpu_features()
    assert {"avx2", "avx512_vnni"} & cpu._numpy_features() == {"avx2", "avx512_vnni"} & cpu.cpu_features()


def test_every_system_has_kernels_for_all_its_cpus():
    """Any x86-64 on all three; on ARM the least that the system's CPUs have."""
    carried = {system: [name for name in INSTRUCTION_SETS if system in systems_of(name)] for system in SYSTEMS}
    assert carried["linux"] == list(INSTRUCTION_SETS)
    for system, names in carried.items():
        assert {"portable", "avx2", "avx512vnni", "neon-dotprod", "neon-i8mm"} <= set(names), system
        assert len({library_name(name, system) for name in names}) == len(names)
