"""Kernels that the package carries: preferred, checked, never taken for another CPU or from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert.cli import doctor
from minibert.engine import Engine, library, loading, prebuilt
from minibert.engine.backends import choose_backend
from minibert.engine.cpu import supported_isas
from minibert.errors import BackendError
from minibert.kernels import sources
from minibert.kernels.systems import library_name, this_system
from tests.engine.child import run_child
from tests.models import random_model
from tests.tiny import classifier_path, tiny_folder  # noqa: F401 - fixtures


def write_package(folder: Path, isa: str, code: bytes) -> None:
    """A library and its table, as a wheel has them."""
    name = library_name(isa, this_system())
    (folder / name).write_bytes(code)
    table = {
        "version": minibert.__version__,
        "interface": sources.interface(),
        "sources": sources.sources_hash(),
        "libraries": {name: hashlib.sha256(code).hexdigest()},
    }
    (folder / "kernels.json").write_text(json.dumps(table))


@pytest.fixture
def carried(jit, monkeypatch, tmp_path) -> str:
    """The package carries kernels for this CPU's best instruction set: its name."""
    isa = supported_isas()[0]
    library.kernels(isa, prebuilt=False)
    code = library._cached(isa)
    if code is None or not loading.is_linked(code):
        pytest.skip("needs a linker and a cache")
    write_package(tmp_path, isa, code)
    monkeypatch.setattr(prebuilt, "FOLDER", str(tmp_path))
    monkeypatch.setattr(library, "_loaded", {})
    for name in ("MINIBERT_BACKEND", "MINIBERT_ISA"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield isa
    forget()


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


#: What is wrong with a package, and what is said of it.
DAMAGE = {
    "library": "damaged",
    "no library": "damaged",
    "table": "broken",
    "list": "broken",
    "no table": "lost",
    "no entry": "there is none for",
    "version": "another version",
    "interface": "another version",
    "sources": "other sources",
}


def change_table(**values: object) -> None:
    """Change some of a table's values, and forget what was read."""
    table = Path(prebuilt.FOLDER) / "kernels.json"
    table.write_text(json.dumps({**json.loads(table.read_text()), **values}))
    forget()


def forget() -> None:
    prebuilt._table.cache_clear()
    prebuilt.prebuilt_code.cache_clear()


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_not_loaded(carried, damage):
    table = Path(prebuilt.FOLDER) / "kernels.json"
    file = Path(prebuilt.FOLDER) / library_name(carried, this_system())
    if damage == "library":
        code = bytearray(file.read_bytes())
        code[len(code) // 2] ^= 1
        file.write_bytes(code)
    elif damage in ("no table", "no library"):
        (table if damage == "no table" else file).unlink()
    elif damage in ("table", "list"):
        table.write_text("{" if damage == "table" else "[]")
    elif damage == "no entry":
        change_table(libraries={})
    elif damage == "sources":
        change_table(sources="0" * 64, stamp="0" * 64)
    else:
        change_table(**{damage: "0"})
    forget()
    assert choose_backend() == "jit"
    assert DAMAGE[damage] in prebuilt.why_none(carried)
    assert not library.kernels().prebuilt
    with pytest.raises(BackendError, match="carries no kernels"):
        choose_backend("prebuilt")


def test_a_checkout_compares_its_sources(carried, monkeypatch):
    """By when they were written, which is cheap; by what they say where that differs."""
    change_table(stamp=sources.stamp())
    monkeypatch.setattr(sources, "sources_hash", lambda: "not asked for")
    assert prebuilt.prebuilt_code(carried)
    monkeypatch.undo()


def test_sources_written_again_as_they_were(carried):
    change_table(stamp="0" * 64)
    assert prebuilt.prebuilt_code(carried)


def test_a_stamp_changes_with_every_source(tmp_path):
    copy = tmp_path / "minibert"
    shutil.copytree(sources.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    stamps = {sources.stamp(str(copy))}
    for name in ("kernels/isa/avx2.py", "kernels/rows.py", "numerics.py", "format/constants.py"):
        os.utime(copy / name, ns=(0, 0))
        stamps.add(sources.stamp(str(copy)))
    (copy / "kernels/new.py").touch()
    stamps.add(sources.stamp(str(copy)))
    assert len(stamps) == 6


def packed(carried: str, folder: Path) -> Path:
    """A copy of the package that carries kernels."""
    package = folder / "package" / "minibert"
    shutil.copytree(sources.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    shutil.copytree(prebuilt.FOLDER, package / "kernels/prebuilt", ignore=shutil.ignore_patterns("package"))
    return package


ANSWER = """
    import warnings
    warnings.simplefilter("error")
    import minibert
    model = minibert.load({path!r})
    assert model.predict("my card is lost")["label"]
    assert model.engine.backend == "prebuilt", model.engine.backend
    assert model.engine.isa == {isa!r}
    assert not [name for name in ("pathlib", "tempfile", "hashlib", "subprocess") if name in __import__("sys").modules]
    print(minibert.__file__)
"""


@pytest.mark.parametrize("form", ["folder", "zip", "without sources"])
def test_every_form_of_package_has_its_kernels(carried, tmp_path, classifier_path, form):  # noqa: F811
    package = packed(carried, tmp_path)
    place = package.parent
    if form == "zip":
        place = tmp_path / "package.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in package.rglob("*"):
                archive.write(file, file.relative_to(package.parent))
        shutil.rmtree(package.parent)
    elif form == "without sources":
        subprocess.run([sys.executable, "-m", "compileall", "-b", "-q", str(package)], check=True)
        for source in package.rglob("*.py"):
            source.unlink()
    code = ANSWER.format(path=str(classifier_path), isa=carried)
    out = run_child(code, preamble=f"import sys; sys.path.insert(0, {str(place)!r})", MINIBERT_CACHE=str(tmp_path))
    assert out.startswith(str(place))


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_without_files_in_memory(carried, monkeypatch, tmp_path, zipped, writable):
    """No /proc, as in a slim container: the package's own file is loaded, or a copy in a folder that can be written."""
    isdir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path != "/proc/self/fd" and isdir(path))
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache" if writable else "/proc/none"))
    if zipped:
        monkeypatch.setattr(library, "prebuilt_file", lambda isa: None)
    if not writable:
        monkeypatch.setattr("tempfile.gettempdir", os.getcwd)
    if zipped and not writable:
        with pytest.raises(BackendError, match="cannot be loaded: no folder can be written"):
            library.kernels(carried, prebuilt=True)
        return
    assert library.kernels(carried, prebuilt=True).entry
    kept = [file.name for file in (tmp_path / "cache").glob("*")]
    assert len(kept) == zipped, kept
    assert all(name.startswith("library-") and name.endswith(".so") for name in kept)


def test_doctor_says_why_numpy_answers(carried, monkeypatch):
    assert doctor.examine()["why_numpy"] is None
    assert doctor.advice(doctor.examine()) == []
    change_table(version="0")
    monkeypatch.setitem(sys.modules, "numba", None)
    found = doctor.examine()
    assert (found["backend"], found["error"]) == ("numpy", None)
    (line,) = doctor.advice(found)
    assert "they belong to another version of minibert; compiling kernels needs numba" in line


def test_doctor_loads_what_the_engine_would(carried, monkeypatch):
    """Whole, but refused by the system's loader: NumPy answers, and the reason is said."""
    code = b"\x7fELF" + bytes(100)
    write_package(Path(prebuilt.FOLDER), carried, code)
    forget()
    found = doctor.examine()
    assert (found["backend"], found["error"]) == ("numpy", None)
    assert "cannot be loaded" in found["why_numpy"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine = Engine(random_model())
        engine.warmup()
    assert engine.backend == "numpy"
    assert "cannot be loaded" in str(caught[0].message)


def test_libraries_of_the_current_folder_are_nothing(carried, monkeypatch, tmp_path):
    monkeypatch.chdir(prebuilt.FOLDER)
    monkeypatch.setattr(prebuilt, "FOLDER", str(tmp_path / "elsewhere"))
    forget()
    assert prebuilt.prebuilt_code(carried) is None


@pytest.mark.slow
def test_library_of_another_architecture_needs_its_linker(jit, tmp_path):
    """Made on any machine that has lld, a library asks for nothing at all."""
    library_file = tmp_path / "neon.so"
    command = [sys.executable, "-m", "minibert.kernels.build", "neon", str(library_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "no linker for linux on aarch64: install lld" in done.stderr
        return
    code = library_file.read_bytes()
    assert loading.is_linked(code)
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64
    for name in (b"usleep", b"pthread", b"mem", b"NRT_", b"numba", b"libc"):
        assert name not in code
    assert len(code) < 200_000
