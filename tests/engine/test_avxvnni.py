"""AVX-VNNI on machines that have only AVX-512 VNNI: the right encoding, and the right integers in the other one."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from minibert.engine import cpu
from minibert.engine.cpu import cpu_features, supported_isas
from minibert.engine.executor import Executor
from minibert.engine.library import Kernels
from minibert.kernels.isa import TARGETS
from tests.engine.zoo import SHAPES, lengths_of, zoo

#: Builds the kernels of avxvnni: argv[1] is LLVM's features on top of the CPU's own, argv[2] the target.
_BUILD = """
import sys
from dataclasses import replace
from pathlib import Path
from minibert.kernels import build
from minibert.kernels.isa import avxvnni
avxvnni.ISA = replace(avxvnni.ISA, features=sys.argv[1] or avxvnni.ISA.features)
target = Path(sys.argv[2])
code = build.build("avxvnni", triple="x86_64-unknown-linux-gnu", assembly=target.suffix == ".s")
target.write_bytes(code if target.suffix == ".s" else build.link(code, "linux", "x86_64"))
"""


def _built(features: str, target) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, features, str(target)], capture_output=True, text=True, check=False
    )
    if "no linker" in done.stderr:
        pytest.skip("needs a linker for x86-64")
    assert done.returncode == 0, done.stderr
    return target.read_bytes()


@pytest.mark.slow
def test_instructions_are_those_of_avx_vnni(jit, tmp_path):
    assembly = _built("", tmp_path / "kernels.s").decode()
    for name in ("vpdpbusd", "vpdpwssd"):
        encodings = re.findall(rf"(\{{vex\}})?\s+{name}\s", assembly)
        assert encodings
        assert set(encodings) == {"{vex}"}
    assert not re.search(r"zmm|[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]", assembly)


def test_chosen_where_the_cpu_has_it(monkeypatch):
    monkeypatch.setattr(cpu, "this_machine", lambda: "x86_64")
    plain = TARGETS["avx2"].features
    for features, best in ((plain, "avx2"), (plain | {"avx_vnni"}, "avxvnni"), (frozenset({"avx_vnni"}), "portable")):
        monkeypatch.setattr(cpu, "cpu_features", lambda features=features: features)
        assert supported_isas()[0] == best


@pytest.mark.slow
def test_same_integers_in_the_encoding_of_avx512(jit, tmp_path):
    if not {"avx512_vnni", "avx512vl"} <= cpu_features():
        pytest.skip("needs a CPU with AVX-512 VNNI")
    kernels = Kernels("avxvnni", _built("+avx512vnni,+avx512vl", tmp_path / "kernels.so"))
    for name in SHAPES:
        model = zoo(name, "int8")
        texts = model.texts(lengths_of(model))
        engine = model.engine()
        engine._executor = Executor(engine.plan, engine.config, engine.tensors, kernels, 1)
        np.testing.assert_array_equal(engine.forward(*texts), model.engine(backend="numpy").forward(*texts), name)
