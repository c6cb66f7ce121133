"""Tokenizers as tables in files: what is written is what is read, and files without tables are as they were."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import expected_tensors, pack_tokenizer, read_model, write_model
from minibert.format import token_tables as tt
from tests.format.models import CONFIGS, TOKENIZER, make_tensors, tables_config
from tests.format.tokenizers import NAMES, VOCAB_SIZE, read_texts, small_json, small_tables


@pytest.mark.parametrize("name", NAMES)
def test_tables_come_back_as_they_were(name, tmp_path):
    config = tables_config(name, VOCAB_SIZE)
    tensors = make_tensors(config)
    write_model(tmp_path / "model.safetensors", config, tensors)
    file = read_model(tmp_path / "model.safetensors")
    assert file.config == config
    given = small_tables(name)
    found = file.token_tables()
    assert set(given.tensors) <= set(found)
    for key, tensor in given.tensors.items():
        np.testing.assert_array_equal(found[key], tensor)
        assert file.tensors[key].ctypes.data % 64 == 0
    assert json.loads(file.tokenizer_json())["model"]["vocab"] == json.loads(small_json(name))["model"]["vocab"]
    assert json.loads(file.tokenizer_json()).keys() == json.loads(small_json(name)).keys()
    assert any(read_texts(given.tokenization, found, VOCAB_SIZE))
    write_model(tmp_path / "again.safetensors", file.config, file.tensors)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_what_leads_elsewhere_lies_outside_of_the_mapping(model_files):
    file = read_model(model_files["tables"])
    tables, found = file.config.text.tables, file.token_tables()
    assert tables is not None
    for name in tt.places(tables):
        assert not np.shares_memory(found[name], file.tensors[name]), name
        assert not found[name].flags.writeable
    labels = f"{tt.PIECES}.labels"
    assert found[labels] is file.tensors[labels]
    assert found[tt.SEQUENCES].ctypes.data % 4 == 0


def test_a_file_without_tables(model_files):
    file = read_model(model_files["int8"])
    assert file.config.text.tables is None
    assert "tables" not in file.config.to_json()["text"]
    assert not [name for name in expected_tensors(file.config) if name.startswith(tt.PREFIX)]
    assert file.tokenizer_json() == TOKENIZER
    with pytest.raises(FormatError, match=r"int8\.safetensors: has no tables of its tokenizer"):
        file.token_tables()


def test_damaged_tables_are_not_written(tmp_path):
    config = CONFIGS["tables"]
    for name, value in ((tt.IDS, 23), (f"{tt.PIECES}.first", 9), (tt.CHARACTERS, 0)):
        tensors = make_tensors(config)
        tensors[name] = tensors[name].copy()
        tensors[name][:] = value
        with pytest.raises(FormatError, match=name.replace(".", r"\.")):
            write_model(tmp_path / "model.safetensors", config, tensors)
    tensors = make_tensors(config)
    tensors["tokenizer.json"] = make_tensors(CONFIGS["int8"])["tokenizer.json"]
    assert config.text.tables is not None
    tables = replace(config.text.tables, model="unigram")
    del tensors[tt.IDS]
    with pytest.raises(FormatError, match="is missing"):
        write_model(tmp_path / "model.safetensors", replace(config, text=replace(config.text, tables=tables)), tensors)
    assert not [*tmp_path.iterdir()]


def test_nothing_is_the_table_of_a_tokenizer_by_another_name(tmp_path):
    config = CONFIGS["tables"]
    aliases = {f"{tt.PIECES}.labels": "layers.0.ffn.up.weight"}
    with pytest.raises(FormatError, match=r"text\.pieces\.labels.*no such tensor"):
        write_model(tmp_path / "model.safetensors", replace(config, aliases=aliases), make_tensors(config))


@pytest.mark.parametrize(
    "rest",
    [
        "[]",
        "{}",
        '{"model":{"vocab":{}},"added_tokens":[{}]}',
        '{"model":{"vocab":{}},"decoder":[]}',
        '{"model":3}',
        '{"model":{"vocab":[1]}}',
        '{"model":{"vocab":{"a":"b"}}}',
        "{",
    ],
)
def test_what_is_left_of_a_tokenizer_is_none(rest, tmp_path):
    config = CONFIGS["tables"]
    with pytest.raises(FormatError, match=r"tokenizer\.json"):
        write_model(tmp_path / "x", config, make_tensors(config) | {"tokenizer.json": pack_tokenizer(rest)})
