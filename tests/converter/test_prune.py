"""The pruning pass on whole networks, and conversions that prune."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import minibert
from minibert.datasets import read_columns
from minibert.errors import InputError
from minibert.evaluate import evaluate
from minibert.format import expected_tensors, read_model
from minibert_converter.convert import convert
from minibert_converter.matrices import encoder_names, real_rows_and_columns
from minibert_converter.network import QuantizedLinear
from minibert_converter.passes.prune.blocks import block_density
from tests.converter.networks import (
    MANY_TEXTS,
    OTHER_TEXTS,
    TEXTS,
    answers,
    ids_of,
    noise_weights,
    prune,
    quantize,
    read_network,
    some_ids,
)

#: Heads of 20 are padded to 32 (three heads of a hidden size of 60), the FFN of 100 to 112.
PADDED = {"hidden_size": 60, "num_attention_heads": 3}


@pytest.fixture
def network(tmp_path):
    return read_network(tmp_path / "checkpoint")


@pytest.fixture
def padded_network(tmp_path):
    return read_network(tmp_path / "padded", *noise_weights(**PADDED))


def density(network, rows=4, columns=4):
    """Of all encoder matrices together."""
    kept = total = 0.0
    for name in encoder_names(network):
        real = np.logical_and.outer(*real_rows_and_columns(network.architecture, name))
        kept += block_density(network.linears[name].weight, real, rows, columns) * real.sum()
        total += real.sum()
    return kept / total


@pytest.mark.parametrize("method", ["magnitude", "second-order"])
@pytest.mark.parametrize("budget", ["matrix", "global"])
@pytest.mark.parametrize(("pattern", "sides"), [("4x4", (4, 4)), ("1x4", (1, 4)), ("16x16", (16, 16))])
def test_blocks(padded_network, method, budget, pattern, sides):
    network = padded_network
    before, heads = dict(network.linears), dict(network.linears["head.dense"].__dict__)
    report = prune(network, [f"{pattern}:0.5"], method=method, budget=budget, texts=TEXTS)
    # The last blocks of a matrix are smaller, so that half of the blocks is not half of the weights.
    assert density(network, *sides) == pytest.approx(0.5, abs=0.06 if pattern == "16x16" else 0.01)
    for name in encoder_names(network):
        weight, old = network.linears[name].weight, before[name].weight
        assert not weight[old == 0].any()
        assert report.errors[name] > 0.01
        if method == "magnitude":
            assert ((weight == old) | (weight == 0)).all()
            assert network.linears[name].bias is before[name].bias
        else:
            assert np.abs(weight - old)[weight != 0].max() > 0.001  # what stays makes up for what went
        if budget == "matrix" and pattern != "16x16":
            assert 0.4 < np.count_nonzero(weight) / np.count_nonzero(old) < 0.6
    assert network.linears["head.dense"].__dict__ == heads
    assert np.isfinite(answers(network, some_ids())).all()
    assert any("4x4 is the pattern" in note for note in network.notes) == (pattern == "1x4")


def test_padding_stays_zero_whatever_is_pruned(padded_network):
    network = padded_network
    prune(network, ["heads:0.4", "ffn:0.5", "layers:1", "4x4:0.3"], texts=TEXTS)
    assert len(network.architecture.layers) == 1
    for name in encoder_names(network):
        rows, columns = real_rows_and_columns(network.architecture, name)
        linear = network.linears[name]
        assert linear.weight.shape == (len(rows), len(columns))
        assert not linear.weight[:, ~columns].any()
        assert not linear.weight[~rows].any()
        assert not linear.bias[~rows].any()


def test_second_order_blocks_see_through_scales(tmp_path):
    """Values may be scaled up and the weights that read them down: the same network, but other magnitudes."""
    config, weights = noise_weights()
    scales = np.exp2(np.random.RandomState(0).uniform(-3, 3, 24)).repeat(4).astype(np.float32)
    for layer in range(2):
        base = f"bert.encoder.layer.{layer}.attention"
        weights[f"{base}.self.value.weight"] *= scales[:, None]
        weights[f"{base}.self.value.bias"] *= scales
        weights[f"{base}.output.dense.weight"] /= scales
    lost = {}
    for method in ("magnitude", "second-order"):
        network = read_network(tmp_path / method, config, weights)
        ids = ids_of(network, OTHER_TEXTS)
        truth = answers(network, ids)
        prune(network, ["4x4:0.4"], method=method, texts=TEXTS)
        lost[method] = np.square(answers(network, ids) - truth).mean()
    assert lost["second-order"] < 0.8 * lost["magnitude"]


def test_structures_shrink_layers_and_are_fitted(network, tmp_path):
    ids = ids_of(network, OTHER_TEXTS)
    sizes, lost, added = {}, {}, {}
    for method in ("magnitude", "second-order"):
        pruned = read_network(tmp_path / method)
        truth = answers(pruned, ids)
        report = prune(pruned, ["heads:0.33", "ffn:0.5"], method=method, texts=TEXTS)
        layers = pruned.architecture.layers
        sizes[method] = (sum(layer.num_heads for layer in layers), sum(layer.ffn_size for layer in layers))
        lost[method] = np.square(answers(pruned, ids) - truth).mean()
        assert report.details["layers"] == [
            {"number": number, "num_heads": layer.num_heads, "ffn_size": layer.ffn_size}
            for number, layer in enumerate(layers)
        ]
        assert all(layer.ffn_size % 16 == 0 for layer in layers)
        added[method] = report.errors["layers.1.ffn.down"]
        assert report.densities["layers.0.ffn.up"] == pytest.approx(layers[0].ffn_size / 100, abs=1e-4)
    assert sizes["second-order"] == (4, 96)
    assert 0 < added["second-order"] < added["magnitude"]
    assert lost["second-order"] < lost["magnitude"]


def test_what_is_redundant_costs_nothing(tmp_path):
    """Half of the neurons and one head in three are copies: without them the network returns nearly the same."""
    config, weights = noise_weights(intermediate_size=96)
    for layer in range(2):
        base = f"bert.encoder.layer.{layer}"
        for part in ("weight", "bias"):
            up = weights[f"{base}.intermediate.dense.{part}"]
            up[48:] = up[:48]
            for which in ("query", "key", "value"):
                matrix = weights[f"{base}.attention.self.{which}.{part}"]
                matrix[64:] = matrix[:32]
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = ids_of(network, OTHER_TEXTS)
    truth = answers(network, ids)
    prune(network, ["heads:0.33", "ffn:0.5"], texts=MANY_TEXTS)
    assert [(layer.num_heads, layer.ffn_size) for layer in network.architecture.layers] == [(2, 48)] * 2
    assert np.square(answers(network, ids) - truth).mean() < 0.03**2 * truth.var()


@pytest.mark.parametrize(
    ("request_", "method", "expected"),
    [
        ("layers:1,", "second-order", (0, 2)),
        ("layers:0,1", "magnitude", (2,)),
        ("layers:1", "magnitude", (0, 1)),
        ("layers:0.67", "magnitude", (0,)),
    ],
)
def test_layers(tmp_path, request_, method, expected):
    config, weights = noise_weights(num_hidden_layers=3)
    network = read_network(tmp_path / "checkpoint", config, weights)
    before = dict(network.linears)
    report = prune(network, [request_], method=method, texts=TEXTS)
    assert network.layer_numbers == expected
    for new, old in enumerate(expected):
        assert network.linears[f"layers.{new}.ffn.up"] is before[f"layers.{old}.ffn.up"]
    assert len(encoder_names(network)) == 4 * len(expected)
    assert {name for name, left in report.densities.items() if left == 0} == {
        name for name in before if name.startswith("layers.") and int(name.split(".")[1]) not in expected
    }


def test_the_layer_that_does_least_is_dropped(tmp_path):
    config, weights = noise_weights(num_hidden_layers=3)
    for part in ("attention.output.dense", "output.dense"):
        for ending in ("weight", "bias"):
            weights[f"bert.encoder.layer.1.{part}.{ending}"] *= 1e-3
    for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
        weights[f"bert.encoder.layer.1.{norm}.weight"][:] = 1
        weights[f"bert.encoder.layer.1.{norm}.bias"][:] = 0
    network = read_network(tmp_path / "checkpoint", config, weights)
    prune(network, ["layers:1"], texts=TEXTS)
    assert network.layer_numbers == (0, 2)


def test_refusals(network):
    for requests, options, message in [
        (["layers:2"], {}, "one at least must stay"),
        (["layers:0,1"], {}, "one at least must stay"),
        (["layers:5,"], {}, "layers 0 to 1"),
        (["4x4:2"], {}, "above 0 and below 1"),
        (["4x4:0.5"], {"texts": []}, "at least one text"),
    ]:
        with pytest.raises(InputError, match=message):
            prune(network, requests, **options)
    quantize(network, method="nearest")
    with pytest.raises(InputError, match="before quantizing"):
        prune(network, ["4x4:0.5"], texts=TEXTS)


def test_the_same_texts_prune_the_same(network, tmp_path):
    other = read_network(tmp_path / "other")
    for each in (network, other):
        prune(each, ["heads:0.33", "4x4:0.5"], texts=TEXTS)
    for name in encoder_names(network):
        np.testing.assert_array_equal(network.linears[name].weight, other.linears[name].weight)


@pytest.mark.parametrize("method", ["compensated", "nearest"])
def test_quantizing_keeps_every_zero(network, method):
    prune(network, ["4x4:0.6"], texts=TEXTS)
    zeros = {name: network.linears[name].weight == 0 for name in encoder_names(network)}
    quantize(network, texts=TEXTS, method=method)
    for name, zero in zeros.items():
        linear = network.linears[name]
        assert isinstance(linear, QuantizedLinear)
        assert not linear.q[zero].any(), name
        assert np.count_nonzero(linear.q[~zero]) > 0.8 * (~zero).sum()


def test_convert_prunes_and_says_so(tmp_path):
    config, weights = noise_weights(num_hidden_layers=3)
    read_network(tmp_path / "checkpoint", config, weights)
    requests = ["layers:1,", "heads:0.33", "4x4:0.7"]
    stages = set()
    report = convert(
        tmp_path / "checkpoint",
        tmp_path / "model",
        prune=requests,
        calibrate=TEXTS,
        progress=lambda stage, done, total: stages.add(stage),
    )
    model = read_model(tmp_path / "model")
    assert len(model.config.architecture.layers) == 2
    assert {name for name in model.tensors} >= set(expected_tensors(model.config))
    assert model.config.recipe["pass"] == [{"prune": requests}, {"quantize": "int8"}]
    assert model.config.report["calibration"] == f"{len(TEXTS)} texts given"
    assert sum(linear.kind == "int8-4x4" for linear in model.config.linears.values()) >= 6
    parts = {part.name: part for part in report.parts}
    assert parts["layers.1.attention"].bytes_after == parts["layers.1.ffn"].density == 0
    for name in ("layers.0.ffn", "layers.2.attention"):
        assert 0.1 < parts[name].density < 0.5
        assert parts[name].error > 0.05
    assert "density" in report.table()
    stored = model.config.report["passes"][0]["details"]
    assert [layer["number"] for layer in stored["layers"]] == [0, 2]
    assert json.loads(json.dumps(report.to_json()))["passes"][0]["details"] == stored
    assert {"calibrating", "scoring blocks", "fitting", "quantizing"} <= stages
    label = minibert.load(tmp_path / "model", backend="numpy").predict("a very good movie")["label"]
    assert label in ("bad", "so-so", "good")


def test_convert_without_pruning_says_nothing_of_it(tmp_path):
    read_network(tmp_path / "checkpoint")
    report = convert(tmp_path / "checkpoint", tmp_path / "model", quantize="none")
    assert "density" not in report.table()
    assert report.passes == ()
    assert read_model(tmp_path / "model").config.recipe["pass"] == []


def test_convert_refuses_before_it_reads(tmp_path):
    with pytest.raises(InputError, match="how much"):
        convert(tmp_path / "absent", tmp_path / "model", prune=["4x4"])


def test_float32_may_be_pruned_on_given_texts(tmp_path):
    read_network(tmp_path / "checkpoint")
    convert(tmp_path / "checkpoint", tmp_path / "model", quantize="none", prune=["ffn:0.5"], calibrate=TEXTS)
    layers = read_model(tmp_path / "model").config.architecture.layers
    assert sum(layer.ffn_size for layer in layers) == 96


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "most_lost"), [(["4x4:0.5"], 3.0), (["heads:0.33", "ffn:0.5"], 1.0)])
def test_accuracy_of_a_real_model(shared, tmp_path, requests, most_lost):
    """SST-2: pruned on training sentences, labels unread; the dense float32 model has 89.68% right."""
    texts = [text for (text,) in read_columns(shared / "data/sst2/train.tsv.gz", ["sentence"])]
    texts = random.Random(0).sample([text for text in texts if text.count(" ") >= 4], 512)
    convert(shared / "models/sst2-minilm", tmp_path / "model", quantize="none", prune=requests, calibrate=texts)
    dev = read_columns(shared / "data/sst2/dev.tsv", ["sentence", "label"])
    figures = evaluate(minibert.load(tmp_path / "model"), [text for text, _ in dev], [label for _, label in dev])
    assert 100 * figures["accuracy"] >= 89.68 - most_lost
