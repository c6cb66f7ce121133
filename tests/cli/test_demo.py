"""The demo, on the model that the repository carries."""

from __future__ import annotations

import pytest

import minibert
from minibert import InputError
from minibert.datasets import read_columns
from minibert_converter.cli import demo
from tests.model.test_carried import PACKAGE


@pytest.mark.parametrize("texts", [154, pytest.param(3080, marks=pytest.mark.slow)])
def test_the_demo_ends_in_answers(run, tmp_path, monkeypatch, texts):
    pytest.importorskip("minibert_converter")
    pytest.importorskip("numba")
    monkeypatch.delenv("MINIBERT_BACKEND")  # in NumPy so many answers take minutes
    monkeypatch.setattr(demo, "read_columns", lambda *what: read_columns(*what)[:: 3080 // texts])
    found = run("demo", "banking77", "--json", "-o", tmp_path / "banking.safetensors").json
    before, after = found["float32"], found["int8"]
    assert before["texts"] == after["texts"] == texts
    assert after["bytes"] < before["bytes"] / 2
    assert before["accuracy"] >= 0.88
    assert after["accuracy"] >= before["accuracy"] - 0.01
    labels = [answer["label"] for answer in found["answers"]]
    assert labels[2:4] == ["card_swallowed", "change_pin"]
    kept = minibert.load(tmp_path / "banking.safetensors")
    assert kept.predict(demo.QUESTIONS[3])["label"] == "change_pin"


def test_the_demo_needs_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(minibert, "__file__", str(tmp_path / "site-packages" / "minibert" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"pip install 'minibert\[minilm\]'.*clone"):
        demo.find_example()


def test_the_demo_searches_with_the_package_of_minilm(run, monkeypatch):
    if not PACKAGE.is_dir():
        pytest.skip("needs packages/ of the repository")
    monkeypatch.syspath_prepend(str(PACKAGE))
    found = run("demo", "--json").json
    assert found["bytes"] == (PACKAGE / "minibert_minilm/minilm.safetensors").stat().st_size
    assert [each["best"][0]["text"].split()[0] for each in found["answers"]] == ["Refunds", "A", "The", "The", "Two"]
    assert "Refunds reach the card" in run("demo", "minilm").out
    assert "demo banking77" in run("demo", "minilm", "-o", "x").err


def test_the_demo_says_what_it_needs(run, monkeypatch, tmp_path):
    monkeypatch.setattr("minibert.isolated.find", lambda package: None)
    monkeypatch.setattr(minibert, "__file__", str(tmp_path / "site-packages" / "minibert" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    for words in ((), ("minilm",), ("banking77",)):
        outcome = run("demo", *words)
        assert outcome.code == 1
        assert "pip install 'minibert[minilm]'" in outcome.err
