"""The quantizing pass on whole networks: what it must keep, what it must lose less of, what it must refuse."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace

import numpy as np
import pytest

import minibert
from minibert.errors import InputError
from minibert.format import write_model
from minibert.reference import Reference
from minibert_converter.calibration.tokens import MAX_TEXTS, builtin_texts, tokenize
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.export import export
from minibert_converter.network import LinearWeights, QuantizedLinear, QuantizedTable
from minibert_converter.passes.quantize.centring import centre
from minibert_converter.passes.quantize.gather import gather_statistics, seen_inputs
from tests.checkpoints import write_checkpoint
from tests.converter.networks import quantize

TEXTS = ["the movie was very good", "what a bad film", "my card is not at the bank", "he was playing all day. why?"]
IDS = [[2, 60, 71, 80, 3], [2, 90, 3], [2, *range(50, 70), 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


@pytest.fixture
def network(folder):
    return read_checkpoint(folder)


def answers(network):
    return Reference(*export(network)).forward(IDS)


def test_statistics_see_what_every_matrix_multiplies(network):
    statistics = gather_statistics(network, tokenize(network, TEXTS))
    assert set(statistics) == set(network.linears)
    config, tensors = export(network)
    seen = {}
    ((encoded, _types),) = tokenize(network, TEXTS).chunks()
    reference = Reference(config, tensors, every_token=True)
    reference.forward(encoded, hook=lambda name, rows: seen.setdefault(name, rows.copy()))
    tokens = sum(map(len, encoded))
    for name, one in statistics.items():
        assert one.count == (len(TEXTS) if name.startswith("head.") else tokens)
        np.testing.assert_allclose(one.sample, seen[name], atol=1e-6)
        np.testing.assert_allclose(one.mean, seen[name].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_last_rows_have_their_mean_back(network, form, pooling):
    # With fewer than 64 rows nothing is shifted: many texts, or the many tokens of a few.
    texts = builtin_texts()[: 80 if pooling == "cls" else 20]
    if pooling == "cls":
        texts = [text[:40] for text in texts]
    tokens = tokenize(network, texts)

    def mean():
        rows = []
        rows_of = Reference(*export(replace(network, architecture=replace(network.architecture, pooling="none"))))
        for ids, types in tokens.chunks():
            every = rows_of.forward(ids, types)
            rows.append(every[np.cumsum([0, *map(len, ids[:-1])])] if pooling == "cls" else every)
        return np.concatenate(rows).mean(axis=0)

    network.architecture = replace(network.architecture, pooling=pooling, head=())
    network.linears = {name: one for name, one in network.linears.items() if name.startswith("layers.")}
    float32 = mean()
    bias = network.norms["layers.1.ffn.norm"].bias
    quantize(network, texts=texts, form=form)
    restored = np.abs(mean() - float32).max()
    network.norms["layers.1.ffn.norm"] = replace(network.norms["layers.1.ffn.norm"], bias=bias)
    assert restored < 0.1 * np.abs(mean() - float32).max()


def test_more_texts_than_enough_are_thinned_evenly(network):
    texts = ["good"] * (2 * MAX_TEXTS)
    texts[1::2] = ["a very long text of the bad film"] * MAX_TEXTS
    statistics = gather_statistics(network, tokenize(network, texts))
    assert statistics["head.output"].count == MAX_TEXTS
    assert statistics["layers.0.ffn.up"].count == 3 * MAX_TEXTS  # [CLS] good [SEP]


def test_centring_by_any_constants_changes_no_answer(network):
    random = np.random.default_rng(2)
    before = answers(network)
    original = copy.deepcopy(network)
    means = {}
    for name, linear in network.linears.items():
        used = np.any(linear.weight != 0, axis=0)
        means[name] = np.where(used, random.uniform(-2, 2, used.size), 0).astype(np.float32)
    moved = centre(network, means)
    assert set(moved) == {
        f"layers.{number}.{part}" for number in (0, 1) for part in ("attention.qkv", "attention.output", "ffn.up")
    }
    np.testing.assert_allclose(answers(network), before, atol=2e-5)
    last = "layers.1.ffn.norm"
    np.testing.assert_array_equal(network.norms[last].bias, original.norms[last].bias)
    for name in moved:
        assert np.abs(network.linears[name].bias - original.linears[name].bias).max() > 0.1


def test_centring_makes_the_means_zero(network):
    before = gather_statistics(network, tokenize(network, TEXTS))
    moved = centre(network, {name: one.mean for name, one in before.items()})
    after = gather_statistics(network, tokenize(network, TEXTS))
    for name in moved:
        assert np.abs(before[name].mean).max() > 0.01
        np.testing.assert_allclose(after[name].mean, 0, atol=1e-5)


def test_every_matrix_and_all_but_tiny_tables_become_int8(network):
    weights = {name: linear.weight.copy() for name, linear in network.linears.items()}
    arrays = [linear.weight for linear in network.linears.values()]
    report = quantize(network, texts=TEXTS)
    assert all(isinstance(linear, QuantizedLinear) for linear in network.linears.values())
    kinds = {name: type(table) for name, table in network.tables.items()}
    assert kinds == {
        "embeddings.word": QuantizedTable,
        "embeddings.position": QuantizedTable,
        "embeddings.token_type": np.ndarray,
    }
    for (name, weight), array in zip(weights.items(), arrays, strict=True):
        np.testing.assert_array_equal(array, weight)  # replaced, not written to
        difference = np.linalg.norm(network.linears[name].dequantized() - weight) / np.linalg.norm(weight)
        assert 0 < difference < 0.05, name
    tensors = report.details["tensors"]
    assert list(report.errors) == list(tensors) == ["embeddings.word", "embeddings.position", *weights]
    for name, one in tensors.items():
        assert one["error"] == pytest.approx(report.errors[name], rel=0.01)
        if name.startswith("layers."):
            assert one["bytes_after"] < 0.4 * one["bytes_before"]
            assert 0 < one["error"] < one["nearest"] < 0.05
    assert report.details["tokens"] > len(TEXTS)


def test_compensated_answers_are_nearer_than_rounded_ones(network):
    random = np.random.default_rng(7)
    for number in range(2):  # outlier channels with a constant part, as trained models have
        for norm in (f"layers.{number}.attention.norm", f"layers.{number}.ffn.norm"):
            network.norms[norm].weight[[5, 40]] *= 12
            network.norms[norm].bias[[5, 40]] += random.choice([-20, 20], 2)
    expected = answers(network)
    errors = {}
    for method in ("nearest", "compensated"):
        quantized = copy.deepcopy(network)
        quantize(quantized, texts=TEXTS, method=method)
        errors[method] = np.linalg.norm(answers(quantized) - expected)
    assert errors["compensated"] < 0.5 * errors["nearest"]


def test_nearest_needs_no_text_and_has_no_factors(network):
    report = quantize(network, texts=[], method="nearest")
    assert report.details["tokens"] == 0
    assert all(linear.input_factor is None for linear in network.linears.values())
    assert {one["error"] for name, one in report.details["tensors"].items() if name.startswith("layers.")} == {None}


def test_what_is_quantized_already_stays(network):
    name = "layers.0.ffn.up"
    other = copy.deepcopy(network)
    quantize(other, texts=TEXTS)
    network.linears[name] = other.linears[name]
    network.tables["embeddings.word"] = other.tables["embeddings.word"]
    expected = answers(network)
    report = quantize(network, texts=TEXTS)
    assert network.linears[name] is other.linears[name]
    assert network.tables["embeddings.word"] is other.tables["embeddings.word"]
    assert name not in report.errors
    np.testing.assert_allclose(answers(network), expected, atol=0.05)  # no shift entered a matrix that cannot take it
    assert quantize(network, texts=TEXTS).errors == {}


def test_same_texts_give_same_bits(network):
    other = copy.deepcopy(network)
    for one in (network, other):
        quantize(one, texts=TEXTS)
    for name, linear in network.linears.items():
        assert isinstance(linear, QuantizedLinear)
        np.testing.assert_array_equal(linear.q, other.linears[name].q)
        np.testing.assert_array_equal(linear.input_factor, other.linears[name].input_factor)
        np.testing.assert_array_equal(linear.bias, other.linears[name].bias)


def test_progress_counts_up_to_the_end(network):
    calls = []
    quantize(network, texts=TEXTS, progress=lambda *call: calls.append(call))
    steps = [(done, total) for name, done, total in calls if name == "quantizing"]
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1] > 0
    assert steps == sorted(steps)


def test_texts_and_methods_that_make_no_sense(network):
    with pytest.raises(InputError, match="at least one text"):
        quantize(network, texts=[])
    with pytest.raises(InputError, match="'best'"):
        quantize(network, texts=TEXTS, method="best")  # type: ignore[arg-type]
    assert all(isinstance(linear, LinearWeights) for linear in network.linears.values())


def test_builtin_texts_are_some_hundred_different_ones():
    texts = builtin_texts()
    assert 350 < len(texts) < 600
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and text for text in texts)
    assert not any(text.startswith("#") and text[1:2] == " " for text in texts)
    assert max(map(len, texts)) > 500


@pytest.mark.slow
def test_sst2_accuracy_is_within_a_third_of_a_point_of_float32(shared, tmp_path):
    network = read_checkpoint(shared / "models/sst2-minilm")
    quantize(network)
    write_model(tmp_path / "model.safetensors", *export(network))
    lines = (shared / "data/sst2/dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    predicted = minibert.load(tmp_path / "model.safetensors", threads=1).predict(list(texts))
    right = [(one["label"] == "positive") == (label == "1") for one, label in zip(predicted, labels, strict=True)]
    assert abs(100 * np.mean(right) - 89.68) <= 0.3


def test_few_statistics_are_held_at_a_time(network):
    names = [name for name, linear in network.linears.items() if isinstance(linear, LinearWeights)]
    alive: list[weakref.ref] = []
    for _, seen in seen_inputs(network, tokenize(network, TEXTS), {name: [name] for name in names}):
        alive += [weakref.ref(one) for one in seen.values()]
        del seen
        assert sum(one() is not None for one in alive) <= 1
    assert len(alive) == len(names)
