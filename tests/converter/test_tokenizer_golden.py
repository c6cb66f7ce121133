"""Byte-level and Unigram tokenizers against what transformers makes of them (see tests/golden/make_tokenizers.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.tokenizer import TextSettings, Tokenizer
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from tests.checkpoints import write_json

FOLDERS = sorted((Path(__file__).parents[1] / "golden/tokenizers").iterdir())
USUAL = {"roberta": "RobertaTokenizer", "xlm_roberta": "XLMRobertaTokenizer", "modernbert": "TokenizersBackend"}


def read(folder: Path, usual: str) -> Tokenizer:
    made = read_tokenizer(Folder(folder), 400, usual=usual)
    assert made.max_length == 40
    return LibraryTokenizer(made.json, TextSettings(40))


def check(tokenizer: Tokenizer, folder: Path) -> None:
    cut = 0
    cases = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    assert len(cases) > 50
    for case in cases:
        text, pair = case["text"], case.get("pair")
        encoded = tokenizer.encode(text, pair)
        assert encoded.ids == case["ids"], (text, pair)
        assert not any(encoded.type_ids or ())
        cut += encoded.truncated
        if pair is None:
            content = tokenizer.content(text)
            wanted = [tuple(place) for place in case["offsets"][1:-1]]
            assert content.offsets[: len(wanted)] == wanted, text
    assert cut > 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_ids_and_characters_are_those_of_transformers(folder):
    check(read(folder, USUAL[folder.name]), folder)


def test_vocab_json_and_merges_make_the_same_as_tokenizer_json(tmp_path):
    folder = next(folder for folder in FOLDERS if folder.name == "roberta")
    assert not (folder / "tokenizer.json").exists()
    write_json(tmp_path / "tokenizer_config.json", json.loads((folder / "tokenizer_config.json").read_text()))
    (tmp_path / "tokenizer.json").write_text(
        read_tokenizer(Folder(folder), 400, usual="RobertaTokenizer").json, encoding="utf-8"
    )
    check(read(tmp_path, "RobertaTokenizer"), folder)
