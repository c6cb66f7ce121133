"""A conversion from end to end: the file, the report, and what is left alone when it fails."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import minibert
from minibert.errors import CheckpointError, InputError
from minibert.format import read_model, unpack_float32
from minibert_converter.calibration.texts import read_texts
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


@pytest.fixture(scope="module")
def by_default(folder, tmp_path_factory):
    """The report and the file of a conversion that nothing was said to."""
    path = tmp_path_factory.mktemp("default") / "model.safetensors"
    return convert(folder, path), path


def test_float32_file_holds_the_weights_as_they_were(folder, tmp_path):
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    model = read_model(tmp_path / "model.safetensors")
    weights = bert_weights(CONFIG)
    output = unpack_float32(model.tensors["head.output.weight"], 3)
    np.testing.assert_array_equal(output, weights["classifier.weight"])
    np.testing.assert_array_equal(
        model.tensors["embeddings.word.weight"], weights["bert.embeddings.word_embeddings.weight"]
    )
    assert model.config.task.labels == ("bad", "so-so", "good")
    assert model.config.provenance["checkpoint"] == "checkpoint"


def test_report_counts_every_parameter_and_byte(folder, tmp_path):
    report = convert(folder, tmp_path / "model.safetensors", quantize="none")
    parameters = sum(values.size for values in bert_weights(CONFIG).values())
    assert report.total.parameters == parameters
    assert sum(part.bytes_before for part in report.parts if part.name != "tokenizer") == 4 * parameters
    model = read_model(tmp_path / "model.safetensors")
    assert report.total.bytes_after == sum(tensor.nbytes for tensor in model.tensors.values())
    assert report.file_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert all(part.error == 0 for part in report.parts)
    assert [part.name for part in report.parts] == [
        *("embeddings.word", "embeddings.position", "embeddings.token_type", "embeddings.norm"),
        *("layers.0.attention", "layers.0.ffn", "layers.1.attention", "layers.1.ffn", "head", "tokenizer"),
    ]
    table = report.table()
    assert f"{parameters:,}" in table
    assert "note: task text-classification, from the architecture BertForSequenceClassification" in table
    assert json.loads(json.dumps(report.to_json()))["file_bytes"] == report.file_bytes
    assert model.config.report["parts"] == report.to_json()["parts"]


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_same_checkpoint_gives_same_bytes(folder, tmp_path, quantize):
    texts = None if quantize == "none" else ["a great movie", "not bad at all", "the old house"] * 30
    for name in ("one", "two"):
        convert(folder, tmp_path / name, quantize=quantize, calibrate=texts)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_int8_is_the_default_and_says_what_it_cost(by_default):
    report, path = by_default
    model = read_model(path)
    assert {linear.kind for linear in model.config.linears.values()} == {"int8"}
    tables = {name: table.kind for name, table in model.config.tables.items()}
    assert tables == {"embeddings.word": "int8", "embeddings.position": "int8", "embeddings.token_type": "float32"}
    for part in report.parts:
        if part.name.startswith("layers") or part.name in ("head", "embeddings.word"):
            assert 0.001 < part.error < 0.02, part
            assert part.bytes_after < 0.5 * part.bytes_before, part
    assert model.config.recipe["pass"] == [{"quantize": "int8"}]


def test_progress_is_told_of_every_stage(folder, tmp_path):
    calls = []
    convert(folder, tmp_path / "model", quantize="none", progress=lambda *call: calls.append(call))
    assert {stage for stage, _, _ in calls} == {"reading weights", "writing"}
    for stage in ("reading weights", "writing"):
        steps = [(done, total) for name, done, total in calls if name == stage]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)


def test_max_length(folder, tmp_path):
    convert(folder, tmp_path / "model", quantize="none", max_length=20)
    assert read_model(tmp_path / "model").config.text.max_length == 20
    for wrong in (0, 65):
        with pytest.raises(InputError, match="max_length"):
            convert(folder, tmp_path / "model", quantize="none", max_length=wrong)


def test_options_that_make_no_sense(folder, tmp_path):
    with pytest.raises(InputError, match="int9"):
        convert(folder, tmp_path / "model", quantize="int9")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is a folder"):
        convert(folder, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        convert(folder, tmp_path / "absent/model")
    with pytest.raises(InputError, match="nothing that is asked for reads them"):
        convert(folder, tmp_path / "model", quantize="none", calibrate=["a text"])


def test_the_checkpoint_itself_is_never_overwritten(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"belongs to .*checkpoint, which is read, and would be lost"):
        convert(folder, folder / "model.safetensors", quantize="none")
    assert (folder / "model.safetensors").read_bytes() == before
    for _ in range(2):  # a file of minibert's own may lie there, and be replaced
        convert(folder, folder / "minibert.safetensors", quantize="none")


def test_a_failed_conversion_leaves_the_old_file(folder, tmp_path):
    convert(folder, tmp_path / "model", quantize="none")
    before = (tmp_path / "model").read_bytes()
    weights = bert_weights(CONFIG)
    weights["classifier.bias"][0] = np.nan
    broken = write_checkpoint(tmp_path / "broken")
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"classifier\.bias"):
        convert(broken, tmp_path / "model", quantize="none")
    assert (tmp_path / "model").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "model"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\n\ntwo\r\n", ["one", "two"]),
        ("a.tsv", 'id\tsentence\n1\tone\n2\ttwo, "three\n', ["one", 'two, "three']),
        ("a.csv", 'text,label\n"one, two",1\n', ["one, two"]),
        ("a.tsv", "score\tsentence1\tsentence2\n1\tone\ttwo\n", ["one", "two"]),
        ("a.jsonl", '"one"\n{"text": "two"}\n\n{"query": "three", "n": 1}\n', ["one", "two", "three"]),
    ],
)
def test_texts_from_files(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_texts(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""),
        ("a.txt", b"\xff"),
        ("a.tsv", b"a\tb\n1\t2\n"),
        ("a.tsv", b""),
        ("a.jsonl", b"{"),
        ("a.jsonl", b"[]"),
    ],
)
def test_texts_from_broken_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_texts(tmp_path / name)


def test_texts_that_are_none():
    for wrong in ([], ["", " "], [b"bytes"]):
        with pytest.raises(InputError):
            read_texts(wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_real_model_fits_24_megabytes(shared, tmp_path):
    report = convert(shared / "models/sst2-minilm", tmp_path / "model")
    assert report.file_bytes <= 24_000_000


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_widths_that_are_no_multiple_of_sixteen(tmp_path, form):
    """As TinyBERT's 312: what is measured has the true width, what is stored is padded."""
    config = {**CONFIG, "hidden_size": 44, "num_attention_heads": 4, "intermediate_size": 52}
    folder = write_checkpoint(tmp_path / "checkpoint", config, bert_weights(config))
    answers = {}
    for quantize in ("none", form):
        texts = None if quantize == "none" else ["a great movie", "not bad at all", "the old house"] * 30
        convert(folder, tmp_path / quantize, quantize=quantize, calibrate=texts)
        model = minibert.load(tmp_path / quantize)
        answers[quantize] = [score["score"] for score in model.predict("a good film", top_k=None)]
    assert answers[form] == pytest.approx(answers["none"], abs=0.1)
