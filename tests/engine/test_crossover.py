"""The crossover of dense and block-sparse products: measured, recorded, overridden."""

from __future__ import annotations

import json

import pytest

from minibert.engine import crossover, library, timing
from minibert.engine.crossover import ANY_NUMBER, DENSITIES, TOKENS, Ratios
from minibert.errors import InputError


def table(by_tokens: list[float]) -> Ratios:
    """The same ratios at every density."""
    return Ratios(tuple(tuple(by_tokens) for _ in DENSITIES))


def test_blocks_unless_dense_is_clearly_faster(monkeypatch):
    monkeypatch.delenv("MINIBERT_SPARSE", raising=False)
    assert not table([1.0] * len(TOKENS)).dense_tokens(0.5)
    assert not table([0.95] * len(TOKENS)).dense_tokens(0.5)
    assert table([0.5, 2, 2, 2, 2]).dense_tokens(0.5) == range(TOKENS[0] + 1)
    assert table([0.5, 0.6, 2, 2, 2]).dense_tokens(0.5) == range(TOKENS[1] + 1)
    assert table([2, 2, 2, 0.6, 0.5]).dense_tokens(0.5) == range(TOKENS[2] + 1, ANY_NUMBER)
    assert table([2, 0.5, 0.5, 2, 2]).dense_tokens(0.5) == range(0)
    assert table([0.5] * len(TOKENS)).dense_tokens(0.5) == range(ANY_NUMBER)


def test_ratios_between_measured_densities(monkeypatch):
    monkeypatch.delenv("MINIBERT_SPARSE", raising=False)
    rows = tuple((0.5 if density > 0.6 else 2.0,) * len(TOKENS) for density in DENSITIES)
    assert Ratios(rows).dense_tokens(0.75)
    assert not Ratios(rows).dense_tokens(0.3)
    assert not Ratios(rows).dense_tokens(0.01)
    assert Ratios(rows).dense_tokens(1.0)


def test_environment_overrides(monkeypatch):
    slow = table([0.1] * len(TOKENS))
    monkeypatch.setenv("MINIBERT_SPARSE", "always")
    assert not slow.dense_tokens(0.9)
    monkeypatch.setenv("MINIBERT_SPARSE", "never")
    assert table([9.0] * len(TOKENS)).dense_tokens(0.1) == range(ANY_NUMBER)
    monkeypatch.setenv("MINIBERT_SPARSE", "perhaps")
    with pytest.raises(InputError, match="MINIBERT_SPARSE is 'perhaps': choose auto, always or never"):
        slow.dense_tokens(0.5)


def test_what_is_measured_is_recorded_and_read(jit, monkeypatch, tmp_path):
    isa = library.kernels().isa
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path))
    monkeypatch.setattr(timing, "_TURNS", 1)
    assert not crossover.ratios(isa).measured
    found = timing.measure(library.kernels(isa))
    assert found.measured
    assert all(ratio > 0 for row in found.ratios for ratio in row)
    assert crossover.ratios(isa) == found
    record = crossover.record_path(isa)
    for broken in ("", "{", json.dumps({"ratios": [[1]], "dense_gmacs": []}), json.dumps([1])):
        record.write_text(broken)
        assert not crossover.ratios(isa).measured
