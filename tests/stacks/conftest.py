"""The stacks are installed by `.ci/stacks`, which says so by MINIBERT_STACKS; elsewhere what is missing is left out."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.tiny import *  # noqa: F403


def need(*modules: str) -> None:
    """Skip where one of these is not installed, unless all of them should be."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent and not os.environ.get("MINIBERT_STACKS"):
        pytest.skip(f"needs {', '.join(absent)}: .ci/stacks installs all of them", allow_module_level=True)
    assert not absent, f"{', '.join(absent)} is not installed"


@pytest.fixture
def numpy_backend(monkeypatch):
    """What classes do with rows doesn't depend on how they are made."""
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
