"""AMX: chosen where the CPU has it and the system grants its registers; built of the right instructions anywhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from minibert.engine import cpu
from minibert.engine.cpu import supported_isas
from minibert.kernels.isa import TARGETS

_AVX512 = TARGETS["avx512vnni"].features | TARGETS["avx2"].features


def test_chosen_where_the_system_grants_its_registers(monkeypatch):
    monkeypatch.setattr(cpu, "this_machine", lambda: "x86_64")
    for features, granted, best in (
        (_AVX512 | {"amx_tile", "amx_int8"}, True, "amx"),
        (_AVX512 | {"amx_tile", "amx_int8"}, False, "avx512vnni"),
        (_AVX512 | {"amx_tile", "amx_bf16"}, True, "avx512vnni"),
        (_AVX512, True, "avx512vnni"),
    ):
        monkeypatch.setattr(cpu, "cpu_features", lambda features=features: features)
        monkeypatch.setattr(cpu, "_tile_registers_granted", lambda granted=granted: granted)
        assert supported_isas()[0] == best


@pytest.mark.slow
def test_registers_are_opened_once_and_closed(jit, tmp_path):
    """Each run of a job sets them up before anything else and gives them back; no instruction goes beyond AMX-INT8."""
    target = tmp_path / "kernels.s"
    command = [sys.executable, "-m", "minibert.kernels.build", "amx", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assembly = target.read_text()
    count = {name: len(re.findall(rf"\s{name}\s", assembly)) for name in ("ldtilecfg", "tilerelease", "tdpbusd")}
    assert count["ldtilecfg"] == count["tilerelease"] == 1
    assert count["tdpbusd"] > 4
    assert {"tdpbsud", "tdpbuud"} <= set(re.findall(r"\s(tdp\w+)\s", assembly)) <= {"tdpbusd", "tdpbsud", "tdpbuud"}
    assert not re.search(r"\sv\w+(ph|sh|bf16)\s", assembly)
