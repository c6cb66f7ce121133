"""The cache of compiled kernels holds nothing of others, and compiling runs nothing of others."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import minibert
from minibert import isolated
from minibert.engine import backends, cache, library
from minibert.engine.engine import Engine
from minibert.errors import BackendError, BackendWarning
from tests.forked import forked
from tests.models import random_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners and modes of POSIX")

ROOT = Path(minibert.__file__).parents[1]
OTHER = 12345


@pytest.fixture(autouse=True)
def _fresh_warnings():
    cache._warn.cache_clear()
    backends.warn_of_numpy.cache_clear()


def modes(folder: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in (folder.parent, folder, *folder.iterdir())]


def test_made_for_its_owner_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "deep/er/kernels.o"
    mask = os.umask(0)
    try:
        cache.publish(path, b"code")
    finally:
        os.umask(mask)
    assert modes(path.parent) == [0o700, 0o700, 0o600]
    assert cache.read_entry(path) == b"code"


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, mode):
    folder = tmp_path / "cache"
    cache.publish(folder / "kernels.o", b"planted")
    folder.chmod(mode)
    with pytest.warns(BackendWarning, match=r"cache: others may write there.*chmod go-w.*MINIBERT_CACHE"):
        assert cache.read_entry(folder / "kernels.o") is None
    cache.publish(folder / "new.o", b"code")  # without another warning
    assert [path.name for path in folder.iterdir()] == ["kernels.o"]
    folder.chmod(0o755)
    assert cache.read_entry(folder / "kernels.o") == b"planted"


def test_a_file_that_others_may_write_to_is_not_used(tmp_path):
    path = tmp_path / "cache/kernels.o"
    cache.publish(path, b"code")
    path.chmod(0o666)
    with pytest.warns(BackendWarning, match=r"kernels\.o: others may write there"):
        assert cache.read_entry(path) is None
    cache.publish(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert cache.read_entry(path) == b"new"


@pytest.mark.parametrize("owned", ["folder", "entry", "link"])
def test_what_another_user_owns_is_not_used(tmp_path, owned):
    path = tmp_path / "cache/kernels.o"
    cache.publish(path, b"planted")
    if owned == "link":
        (tmp_path / "link").symlink_to("cache")
        path = tmp_path / "link/kernels.o"
        assert cache.read_entry(path) == b"planted"
    place = {"folder": path.parent, "entry": path, "link": path.parent}[owned]
    try:
        os.chown(place, OTHER, OTHER, follow_symlinks=False)
    except PermissionError:
        pytest.skip("this user gives nothing away")
    with pytest.warns(BackendWarning, match="others may write there"):
        assert cache.read_entry(path) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nothing"])
def test_entries_that_are_no_files(tmp_path, kind, recwarn):
    path = tmp_path / "cache/kernels.o"
    cache.publish(path.parent / "real.o", b"code")
    if kind == "link":
        path.symlink_to("real.o")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    assert cache.read_entry(path) is None
    cache.publish(path, b"new")
    assert cache.read_entry(path) == (b"new" if kind == "nothing" else None)


def test_a_planted_record_of_figures_is_not_read(tmp_path, monkeypatch):
    from minibert.engine import crossover

    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    usual = crossover.ratios("avx2")
    crossover.record("avx2", usual._replace(dense_gmacs=(1.0,), measured=True))
    assert crossover.ratios("avx2").measured
    (tmp_path / "cache").chmod(0o777)
    with pytest.warns(BackendWarning, match="others may write"):
        assert crossover.ratios("avx2") == usual


def test_without_a_home(tmp_path, monkeypatch):
    """A user whom the system does not know, without HOME, as containers and services have them."""
    for name in ("HOME", "XDG_CACHE_HOME", "MINIBERT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache.cache_folder() == tmp_path / f"minibert-{os.getuid()}"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_folder() == tmp_path / f"minibert-{os.getuid()}"
    cache.publish(cache.cache_folder() / "kernels.o", b"code")
    assert cache.read_entry(cache.cache_folder() / "kernels.o") == b"code"
    monkeypatch.setattr(os.path, "expanduser", lambda path: str(tmp_path / "nonexistent"))
    cache.publish(cache.cache_folder() / "kernels.o", b"code")
    assert not (tmp_path / "nonexistent").exists()  # nobody's home is made


PLANTED = "import os\nopen({mark!r}, 'a').write(__name__)\nraise ImportError('planted')\n"


def plant(folder: Path) -> Path:
    """A folder full of files that say when they are run."""
    folder.mkdir()
    mark = folder / "EXECUTED"
    for name in ("numba", "llvmlite", "random", "json", "subprocess", "sitecustomize", "minibert", "numpy", "ziglang"):
        (folder / f"{name}.py").write_text(PLANTED.format(mark=str(mark)))
    return mark


def test_a_child_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    mark = plant(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", ".", str(tmp_path / "here"), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(tmp_path / "here")]))
    found = isolated.find("numpy")
    assert found is not None
    assert found.origin != str(tmp_path / "here/numpy.py")
    done = subprocess.run(isolated.command("minibert.startup"), capture_output=True, text=True, check=False)
    assert "IndexError" in done.stderr  # it got as far as wanting a file
    assert "planted" not in done.stderr
    assert not mark.exists()


def test_compiling_in_a_hostile_folder(tmp_path, monkeypatch):
    """The whole way, but for the compiler itself: what the command would find is seen in what it is given."""
    mark = plant(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    seen = {}

    def run(command, **options):
        seen.update(options, command=command)
        return subprocess.CompletedProcess(command, 1, "", "stopped")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(library, "why_not_compiled", lambda: "")
    with pytest.raises(BackendError, match="stopped"):
        library._compiled("never-compiled")
    assert seen["command"][1] == "-I"
    assert seen["cwd"] not in (str(tmp_path / "here"), os.getcwd())
    assert not os.path.exists(seen["cwd"])  # a folder of its own, that is gone
    assert not mark.exists()


def test_a_compiler_without_a_folder_to_write_in_says_so(tmp_path, monkeypatch):
    """No temporary folder, no cache."""
    monkeypatch.setattr("tempfile.gettempdir", os.getcwd)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file/cache"))
    monkeypatch.setattr(library, "why_not_compiled", lambda: "")
    with pytest.raises(BackendError, match=r"compiling the kernels for never-compiled failed: .*Not a directory"):
        library._compiled("never-compiled")


def test_numpy_answers_where_kernels_that_nobody_asked_for_cannot_be_had(monkeypatch):
    def fail(isa: str) -> bytes:
        raise BackendError(f"compiling the kernels for {isa} failed")

    monkeypatch.delenv("MINIBERT_BACKEND", raising=False)
    for name, value in {"_loaded": {}, "prebuilt_code": lambda isa: None, "_cached": lambda isa: None}.items():
        monkeypatch.setattr(library, name, value)
    monkeypatch.setattr(library, "_compiled", fail)
    monkeypatch.setattr(backends, "prebuilt_code", lambda isa: None)
    monkeypatch.setattr(backends, "can_compile", lambda: True)
    engine = Engine(random_model())
    assert engine.backend == "jit"
    with pytest.warns(BackendWarning, match=r"NumPy answers, many times slower.*compiling the kernels for .* failed"):
        assert engine.forward([[1, 2]]).shape == (1, 40)
    assert (engine.backend, engine.threads) == ("numpy", 1)
    with pytest.raises(BackendError, match=r"compiling the kernels for .* failed"):
        Engine(random_model(), backend="jit").warmup()


@pytest.mark.parametrize("how", ["frozen", "embedded", "unknown"])
def test_a_program_that_is_no_python_never_starts_itself(monkeypatch, how):
    def run(*_arguments, **_options):
        raise AssertionError("it was started")

    monkeypatch.setattr(subprocess, "run", run)
    if how == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", {"embedded": "/usr/bin/uwsgi", "unknown": ""}[how])
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library, "prebuilt_code", lambda isa: None)
    monkeypatch.setattr(library, "_cached", lambda isa: None)
    monkeypatch.setattr(backends, "prebuilt_code", lambda isa: None)
    monkeypatch.delenv("MINIBERT_BACKEND", raising=False)
    assert not library.can_compile()
    with pytest.raises(BackendError, match=r"frozen program|no Python interpreter|needs numba"):
        library.kernels()
    with pytest.raises(BackendError, match="backend 'jit' needs"):
        Engine(random_model(), backend="jit")
    with pytest.warns(BackendWarning, match="NumPy answers"):
        assert Engine(random_model()).backend == "numpy"


def test_a_warning_once(tmp_path):
    def work() -> str:
        folder = tmp_path / "cache"
        cache.publish(folder / "kernels.o", b"planted")
        folder.chmod(0o777)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(5):
                cache.read_entry(folder / "kernels.o")
        return str(len(caught))

    assert forked(work) == "1"
