"""Compiled kernels: found in the cache, compiled into it, and what happens where either cannot be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minibert.engine import Engine, backends, cache, library
from minibert.engine.cpu import supported_isas
from minibert.errors import BackendError, BackendWarning, InputError
from tests.engine.child import run_child, start_child
from tests.models import random_model

PACKAGE = Path(library.__file__).parents[1]


@pytest.fixture
def isa(jit, monkeypatch) -> str:
    """The one instruction set that every machine has, for all engines of the test."""
    name = supported_isas()[-1]
    monkeypatch.setenv("MINIBERT_ISA", name)
    return name


@pytest.fixture
def code(isa) -> bytes:
    """Object code of the kernels, as the user's cache has it by now."""
    library.kernels(isa)
    content = library.cache_path(isa).read_bytes()
    return content[:-32]


@pytest.fixture
def compiler(code, monkeypatch, tmp_path) -> SimpleNamespace:
    """A compiler that takes no time, an empty cache, and no kernels loaded yet."""
    state = SimpleNamespace(calls=0, folder=tmp_path / "cache", output=code, status=0, error="")

    def run(command, **_options):
        state.calls += 1
        if state.output is not None:
            Path(command[-1]).write_bytes(state.output)
        return SimpleNamespace(returncode=state.status, stderr=state.error)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library, "prebuilt_code", lambda isa: None)
    monkeypatch.setenv("MINIBERT_CACHE", str(state.folder))
    return state


def answers() -> None:
    """A freshly loaded library gives right answers."""
    model = random_model()
    texts = model.texts([3, 20])
    np.testing.assert_array_equal(model.engine().forward(*texts), model.reference().forward(*texts))


def forget() -> None:
    library._loaded.clear()


def test_cache_is_filled_once_and_read_after_that(compiler, isa):
    first = library.kernels(isa)
    assert library.kernels(isa) is first
    assert [file.name for file in compiler.folder.iterdir()] == [library.cache_path(isa).name]
    assert library.cache_path(isa).parent == compiler.folder
    content = library.cache_path(isa).read_bytes()
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    forget()
    library.kernels(isa)
    assert compiler.calls == 1
    answers()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "short", "foreign", "longer"])
def test_damaged_entry_is_noticed_and_replaced(compiler, isa, damage):
    library.kernels(isa)
    path = library.cache_path(isa)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "flipped": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :],
            "cut": whole[:middle],
            "empty": b"",
            "short": b"x" * 20,
            "foreign": os.urandom(len(whole)),
            "longer": whole + b"\0",
        }[damage]
    )
    forget()
    library.kernels(isa)
    assert compiler.calls == 2
    assert path.read_bytes() == whole
    answers()


@pytest.mark.parametrize("place", ["a file", "below a file", "not writable", "entry is a folder"])
def test_cache_that_cannot_be_written_is_no_error(compiler, isa, monkeypatch, tmp_path, place, recwarn, capfd):
    blocked = tmp_path / "blocked"
    if place == "not writable":
        blocked.mkdir()
        blocked.chmod(0o500)
        if os.access(blocked, os.W_OK):
            pytest.skip("this user may write everywhere")
    elif place == "entry is a folder":
        monkeypatch.setenv("MINIBERT_CACHE", str(blocked))
        library.cache_path(isa).mkdir(parents=True)
    else:
        blocked.write_text("in the way")
    folder = blocked / "deep" / "er" if place == "below a file" else blocked
    monkeypatch.setenv("MINIBERT_CACHE", str(folder))
    for calls in (1, 2):
        library.kernels(isa)
        assert compiler.calls == calls
        answers()
        forget()
    left = {file.name for file in blocked.iterdir()} if blocked.is_dir() else set()
    assert left <= {library.cache_path(isa).name}
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_publishing_never_shows_half_a_file(compiler, isa, monkeypatch):
    """The entry appears by a rename of a whole file in the same folder."""
    seen = []
    replace = os.replace

    def watched(source, target):
        assert Path(source).parent == Path(target).parent == compiler.folder
        assert not Path(target).exists()
        seen.append(Path(source).read_bytes())
        replace(source, target)

    monkeypatch.setattr(library.os, "replace", watched)
    library.kernels(isa)
    assert seen == [library.cache_path(isa).read_bytes()]


def test_full_disk_leaves_no_litter(compiler, isa, monkeypatch):
    def full(_source, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library.os, "replace", full)
    library.kernels(isa)
    assert list(compiler.folder.iterdir()) == []
    answers()


def test_failed_compilation_says_why(compiler, isa):
    compiler.output, compiler.status, compiler.error = None, 1, "Traceback\nLoweringError: no such word\n"
    with pytest.raises(BackendError, match=rf"compiling the kernels for {isa} failed: LoweringError: no such word"):
        library.kernels(isa)
    compiler.error = ""
    compiler.status = -9
    with pytest.raises(BackendError, match=r"failed: exit status -9"):
        library.kernels(isa)
    assert not compiler.folder.exists()


@pytest.mark.slow
def test_two_processes_fill_an_empty_cache_at_once(jit, tmp_path):
    code = """
        model = random_model()
        texts = model.texts([1, 30])
        assert np.array_equal(model.engine(threads=2).forward(*texts), model.reference().forward(*texts))
        assert "numba" not in sys.modules
    """
    best = supported_isas()[0]
    children = [start_child(code, MINIBERT_CACHE=str(tmp_path), MINIBERT_ISA=best) for _ in range(2)]
    for child in children:
        out, error = child.communicate(timeout=300)
        assert (child.returncode, out, error) == (0, "", "")
    (entry,) = tmp_path.iterdir()
    content = entry.read_bytes()
    assert entry.name.startswith(f"kernels-{best}-")
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]


def test_cached_forward_never_imports_numba(code, isa):
    run_child(
        """
        import sys
        import minibert.engine
        assert not {"numba", "llvmlite", "tokenizers"} & set(sys.modules)
        from tests.models import random_model
        model = random_model()
        engine = model.engine()
        engine.warmup()
        engine.forward([[1, 2, 3]])
        assert engine.backend == "jit"
        packages = {name.partition(".")[0] for name in sys.modules}
        assert not packages & {"numba", "tokenizers", "minibert_converter"}
        """,
        preamble="",
        MINIBERT_ISA=isa,
    )


def test_key_changes_with_whatever_the_code_depends_on(monkeypatch, tmp_path):
    pytest.importorskip("llvmlite")

    def key() -> str:
        library.sources_hash.cache_clear()
        library._cache_key.cache_clear()
        return library._cache_key()

    try:
        copy = tmp_path / "minibert"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        original = key()
        monkeypatch.setattr(library, "PACKAGE", str(copy))
        assert key() == original
        keys = {original}
        for name in (
            "kernels/isa/avx2.py",
            "kernels/simd.py",
            "kernels/opcodes.py",
            "numerics.py",
            "format/constants.py",
        ):
            with open(copy / name, "a", encoding="utf-8") as file:
                file.write("# changed\n")
            keys.add(key())
        (copy / "kernels" / "isa" / "new.py").write_text("# new\n")
        keys.add(key())
        monkeypatch.setattr(library, "_compiler_versions", lambda: ["another"])
        keys.add(key())
        monkeypatch.setattr(library, "sys", SimpleNamespace(version_info=(3, 99, 0), platform=sys.platform))
        keys.add(key())
        monkeypatch.setattr(library.platform, "machine", lambda: "another")
        keys.add(key())
        assert len(keys) == 10
        assert all(keys)
    finally:
        library.sources_hash.cache_clear()
        library._cache_key.cache_clear()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "mine"))
    assert cache.cache_folder() == tmp_path / "mine"
    assert library.cache_path("avx2").parent == tmp_path / "mine"
    monkeypatch.delenv("MINIBERT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform != "win32":
        assert cache.cache_folder() == tmp_path / "xdg" / "minibert"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache.cache_folder() == tmp_path / ".cache" / "minibert"


def test_without_numba_numpy_answers(monkeypatch):
    monkeypatch.delenv("MINIBERT_BACKEND", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library, "prebuilt_code", lambda isa: None)
    monkeypatch.setattr(backends, "prebuilt_code", lambda isa: None)
    model = random_model()
    backends.warn_of_numpy.cache_clear()
    monkeypatch.setattr(backends, "why_none", lambda isa: f"there is none for {isa}")
    with pytest.warns(BackendWarning, match="there is none for .*compiling kernels needs numba") as caught:
        engine = Engine(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Engine(model)  # once a process is enough
    assert len(caught) == 1
    assert (engine.backend, engine.threads, engine.isa) == ("numpy", 1, None)
    engine.warmup()
    assert engine.forward([[1, 2]]).shape == (1, 40)
    with pytest.raises(BackendError, match=r"backend 'jit' needs numba: pip install numba, or use backend='numpy'"):
        Engine(model, backend="jit")
    monkeypatch.setenv("MINIBERT_BACKEND", "jit")
    with pytest.raises(BackendError, match="pip install numba"):
        Engine(model)
    monkeypatch.setenv("MINIBERT_CACHE", "/nowhere/at/all")
    with pytest.raises(BackendError, match="pip install numba"):
        library.kernels(supported_isas()[-1])


def test_choice_of_backend(jit, monkeypatch):
    model = random_model()
    monkeypatch.setattr(backends, "prebuilt_code", lambda isa: None)
    monkeypatch.delenv("MINIBERT_BACKEND", raising=False)
    assert Engine(model).backend == "jit"
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    assert Engine(model).backend == "numpy"
    assert Engine(model, backend="jit").backend == "jit"
    for wrong in ("cuda", "jits"):
        with pytest.raises(InputError, match=rf"backend must be one of .*got '{wrong}'"):
            Engine(model, backend=wrong)
    for threads in (0, -1):
        with pytest.raises(InputError, match="threads must be an integer of at least 1"):
            Engine(model, threads=threads)


@pytest.mark.parametrize("wrong", ["neon", "AVX2", "../../etc"])
def test_instruction_set_that_this_cpu_lacks(monkeypatch, wrong):
    with pytest.raises(BackendError, match=r"this CPU cannot run kernels for .*; it can run .*portable"):
        library.kernels(wrong)
    monkeypatch.setenv("MINIBERT_ISA", wrong)
    with pytest.raises(BackendError, match="portable"):
        library.kernels()


def test_build_refuses_an_unknown_instruction_set(jit, tmp_path):
    outcome = subprocess.run(
        [sys.executable, "-m", "minibert.kernels.build", "mmx", str(tmp_path / "x.o")],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert outcome.returncode != 0
    assert "no kernels for instruction set 'mmx': there are" in outcome.stderr
    assert not (tmp_path / "x.o").exists()
