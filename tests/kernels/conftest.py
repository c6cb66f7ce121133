"""Compiled kernels for every instruction set that this machine has."""

from __future__ import annotations

import pytest

from minibert.engine import library
from minibert.engine.cpu import supported_isas


@pytest.fixture(scope="session", params=supported_isas())
def kernels(request) -> library.Kernels:
    if not library.can_compile():
        pytest.skip("needs numba, which compiles the kernels")
    return library.kernels(request.param)
