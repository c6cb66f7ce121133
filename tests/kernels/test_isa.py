"""The table of instruction sets: every line has its module, and both say the same."""

from __future__ import annotations

import pytest

from minibert.errors import UnsupportedError
from minibert.kernels import isa

pytest.importorskip("llvmlite")


@pytest.mark.parametrize("name", isa.TARGETS)
def test_every_instruction_set_has_a_module(name):
    assert (isa.load(name).tile_registers is not None) == isa.TARGETS[name].whole_tiles


def test_the_last_one_runs_anywhere():
    *known, anywhere = isa.TARGETS.values()
    assert not anywhere.machine
    assert not anywhere.features
    assert all(target.machine and target.features for target in known)


def test_an_unknown_name_is_refused():
    with pytest.raises(UnsupportedError, match="no kernels for instruction set 'sse': there are amx, "):
        isa.load("sse")
