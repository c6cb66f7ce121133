"""Compiled kernels for every instruction set that this machine has."""

from __future__ import annotations

import pytest

from minibert.engine import library
from tests.combinations import ISAS


@pytest.fixture(scope="session", params=ISAS)
def kernels(request) -> library.Kernels:
    if not library.can_compile():
        pytest.skip("needs numba, which compiles the kernels")
    return library.kernels(request.param)
