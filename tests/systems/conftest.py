"""The block of memory that drivers work on, and libraries built for the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minibert.engine.cpu import supported_isas
from minibert.kernels.isa import this_machine
from minibert.kernels.linking import can_link
from minibert.kernels.systems import SYSTEMS, library_name, machine_of
from tests.systems.block import Block


@pytest.fixture(scope="session")
def block() -> Block:
    if sys.platform != "linux" or this_machine() != "x86_64":
        pytest.skip("needs x86-64 Linux")
    return Block()


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Callable[[str, str], Path]:
    """Builds an instruction set's library for a system."""
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("libraries")

    def build(isa: str, system: str) -> Path:
        if not can_link(system, machine_of(isa)):
            pytest.skip(f"needs lld, to link for {system}")
        file = folder / library_name(isa, system)
        if not file.exists():
            systems = [name for name in SYSTEMS if can_link(name, machine_of(isa))]
            files = [str(folder / library_name(isa, name)) for name in systems]
            subprocess.run([sys.executable, "-m", "minibert.kernels.build", isa, *files], check=True)
        return file

    return build


@pytest.fixture
def runs_here() -> Callable[[str], None]:
    """Skips where this CPU lacks an instruction set."""

    def check(isa: str) -> None:
        if isa not in supported_isas():
            pytest.skip("this CPU lacks it")

    return check
