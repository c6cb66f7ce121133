"""What every test may use: data beside the project where there is any, and the switches for long and short runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

# Before anything loads NumPy: for small matrices, threads of its BLAS do little more than wait for each other.
for _blas in ("OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_blas}_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow, which take minutes")
    parser.addoption(
        "--fuzz-rounds",
        type=int,
        default=2500,
        metavar="N",
        help="files the fuzz test mutates (default 2500)",
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        skip = pytest.mark.skip(reason="takes minutes: --run-slow runs it")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def fuzz_rounds(request) -> int:
    return request.config.getoption("--fuzz-rounds")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and data that lies beside the project; a stranger's machine has none."""
    folder = Path(__file__).parents[1] / "../shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared: models and data that are not part of the project")
    return folder.resolve()


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory):
    """Workers that find the cache empty wait for the first of them, instead of compiling the same kernels."""
    from minibert.engine import library  # it loads NumPy

    compiled = library._compiled

    def compiled_once(isa: str) -> bytes:
        with open(tmp_path_factory.getbasetemp().parent / f"{isa}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return library._cached(isa) or compiled(isa)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_compiled", compiled_once)
        yield


@pytest.fixture(autouse=True)
def _threads_for_the_smallest_model(monkeypatch):
    """All threads take part however little there is to do: tests with small models must not test one thread only."""
    monkeypatch.setattr("minibert.engine.executor.WORTH_WAKING", 0)
