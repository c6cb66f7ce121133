"""Files of older releases, whose tokenizers have no tables, get them and nothing else."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import minibert
from minibert import FormatError
from minibert.format import read_model
from minibert_converter import upgrade
from tests.tiny import *  # noqa: F403

TEXTS = ["a great movie", "a bad one, and another", "", "electric 電影 e\u0301"]


def test_everything_but_the_tokenizer_stays(classifier_path, tmp_path):
    target = tmp_path / "new.safetensors"
    assert upgrade.upgrade(classifier_path, target) == ""
    old, new = read_model(classifier_path), read_model(target)
    assert old.config.text.tables is None
    assert new.config.text.tables is not None
    for name in old.tensors.keys() - {"tokenizer.json"}:
        np.testing.assert_array_equal(old.tensors[name], new.tensors[name])
    before, after = (minibert.load(path, backend="numpy") for path in (classifier_path, target))
    assert (before.tokenizer.source, after.tokenizer.source) == ("library", "tables")
    assert before.predict(TEXTS, top_k=None) == after.predict(TEXTS, top_k=None)
    again = tmp_path / "again.safetensors"
    upgrade.upgrade(target, again)
    assert again.read_bytes() == target.read_bytes()


def test_in_place_and_by_command(classifier_path, tmp_path, monkeypatch, capsys):
    file = tmp_path / "model.safetensors"
    file.write_bytes(classifier_path.read_bytes())
    monkeypatch.setattr(sys, "argv", ["upgrade", str(file), str(file)])
    upgrade.main()
    assert read_model(file).config.text.tables is not None
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "argv", ["upgrade", str(tmp_path / "nothing"), str(file)])
    with pytest.raises(SystemExit, match="no such file"):
        upgrade.main()
    with pytest.raises(FormatError):
        upgrade.upgrade(tmp_path, file)
