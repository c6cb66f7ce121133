"""What every test may use: data beside the project where there is any, and the switches for long runs."""

from __future__ import annotations

from pathlib import Path

import pytest


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


@pytest.fixture(autouse=True)
def _threads_for_the_smallest_model(monkeypatch):
    """All threads take part however little there is to do: tests with small models must not test one thread only."""
    monkeypatch.setattr("minibert.engine.executor.WORTH_WAKING", 0)
