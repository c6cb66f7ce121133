"""Kernels that the package carries: preferred, checked, never taken for another CPU or from elsewhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from minibert.engine import Engine, library, prebuilt
from minibert.engine.backends import choose_backend
from minibert.engine.cpu import supported_isas
from minibert.errors import BackendError
from minibert.kernels.sources import sources_hash
from tests.models import random_model


@pytest.fixture
def carried(jit, monkeypatch, tmp_path) -> str:
    """The package carries kernels for this CPU's best instruction set: its name."""
    isa = supported_isas()[0]
    library.kernels(isa, prebuilt=False)
    code = library._cached(isa)
    if code is None or not library._is_linked(code):
        pytest.skip("needs a linker and a cache")
    (tmp_path / f"{isa}.so").write_bytes(code)
    table = {f"{isa}.so": hashlib.sha256(code).hexdigest()}
    (tmp_path / "kernels.json").write_text(json.dumps({"sources": sources_hash(), "libraries": table}))
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    monkeypatch.setattr(library, "_loaded", {})
    for name in ("MINIBERT_BACKEND", "MINIBERT_ISA"):
        monkeypatch.delenv(name, raising=False)
    prebuilt._table.cache_clear()
    prebuilt.prebuilt_code.cache_clear()
    yield isa
    prebuilt._table.cache_clear()
    prebuilt.prebuilt_code.cache_clear()


def test_carried_kernels_come_first(carried, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    model = random_model()
    texts = model.texts([1, 5, 40])
    engine = Engine(model)
    answers = engine.forward(*texts)
    assert (engine.backend, engine.isa) == ("prebuilt", carried)
    assert prebuilt.why_none(carried) == ""
    np.testing.assert_array_equal(answers, model.reference().forward(*texts))


def test_every_backend_can_be_forced(carried, monkeypatch):
    model = random_model()
    texts = model.texts([7])
    answers = [Engine(model, backend=name).forward(*texts) for name in ("prebuilt", "jit", "numpy")]
    assert len({each.tobytes() for each in answers}) == 1
    monkeypatch.setenv("MINIBERT_BACKEND", "jit")
    assert choose_backend() == "jit"
    assert choose_backend("prebuilt") == "prebuilt"


def test_another_instruction_set_is_compiled(carried, monkeypatch):
    monkeypatch.setenv("MINIBERT_ISA", "portable")
    assert choose_backend() == "jit"
    with pytest.raises(BackendError, match="carries no kernels for portable"):
        choose_backend("prebuilt")
    with pytest.raises(BackendError, match="carries no kernels for portable"):
        library.kernels(prebuilt=True)


@pytest.mark.parametrize("damage", ["library", "table", "sources", "no table", "no library", "list"])
def test_what_is_not_whole_is_not_loaded(carried, damage):
    folder = prebuilt.FOLDER
    table = json.loads((folder / "kernels.json").read_text())
    if damage == "library":
        code = bytearray((folder / f"{carried}.so").read_bytes())
        code[len(code) // 2] ^= 1
        (folder / f"{carried}.so").write_bytes(code)
    elif damage == "table":
        (folder / "kernels.json").write_text("{")
    elif damage == "sources":
        (folder / "kernels.json").write_text(json.dumps({**table, "sources": "0" * 64}))
    elif damage == "list":
        (folder / "kernels.json").write_text("[]")
    else:
        (folder / ("kernels.json" if damage == "no table" else f"{carried}.so")).unlink()
    prebuilt._table.cache_clear()
    prebuilt.prebuilt_code.cache_clear()
    assert choose_backend() == "jit"
    reason = {"library": "damaged", "no library": "damaged", "sources": "other sources", "no table": "lost its kernels"}
    assert reason.get(damage, "broken") in prebuilt.why_none(carried)
    assert not library.kernels().prebuilt
    with pytest.raises(BackendError, match="carries no kernels"):
        choose_backend("prebuilt")


def test_libraries_of_the_current_folder_are_nothing(carried, monkeypatch, tmp_path):
    monkeypatch.chdir(prebuilt.FOLDER)
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "elsewhere")
    prebuilt._table.cache_clear()
    prebuilt.prebuilt_code.cache_clear()
    assert prebuilt.prebuilt_code(carried) is None


@pytest.mark.slow
def test_library_of_another_architecture_needs_its_linker(jit, tmp_path):
    """Made on any machine that has lld, a library asks for nothing but the C library's naps."""
    library_file = tmp_path / "neon.so"
    command = [sys.executable, "-m", "minibert.kernels.build", "neon", str(library_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "no linker for aarch64: install lld" in done.stderr
        return
    code = library_file.read_bytes()
    assert library._is_linked(code)
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64
    assert b"usleep" in code
    assert b"NRT_" not in code
    assert b"numba" not in code
    assert len(code) < 200_000
