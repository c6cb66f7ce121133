"""Engines with compiled kernels."""

from __future__ import annotations

import pytest

from minibert.engine import library
from tests.combinations import ISAS


@pytest.fixture
def jit() -> None:
    """The test needs compiled kernels; processes that it starts find them in the cache."""
    if not library.can_compile():
        pytest.skip("needs numba, which compiles the kernels")
    library.kernels()


@pytest.fixture(params=ISAS)
def isa(request, jit, monkeypatch) -> str:
    """An instruction set of this machine, which engines made in the test use."""
    monkeypatch.setenv("MINIBERT_ISA", request.param)
    return request.param
