"""Checkpoints that come sparse: twins of what oBERT, Prune Once for All and nn_pruning leave behind."""

from __future__ import annotations

import numpy as np
import pytest

import minibert
from minibert.format import read_model
from minibert_converter.convert import convert
from minibert_converter.matrices import encoder_names
from minibert_converter.passes.prune.detect import find_zeros
from tests.converter.networks import answers, noise_weights, prune, read_network, some_ids

#: Four heads of 32, whose rows in Q, K and V fall on blocks of 32.
SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}


def prune_checkpoint(weights, rows, columns, sparsity, parts=(".layer.",), seed=0):
    """Zeros in blocks of the checkpoint's own matrices, at random: what a trained sparse model looks like."""
    random = np.random.RandomState(seed)
    for name, weight in weights.items():
        if weight.ndim == 2 and all(part in name for part in parts):
            blocks = random.random_sample((weight.shape[0] // rows, weight.shape[1] // columns)) >= sparsity
            weight *= np.repeat(np.repeat(blocks, rows, axis=0), columns, axis=1)


def remove_head(weights, layer, head, size=32, biases=True):
    """nn_pruning: the head's rows of Q, K and V and its columns of the output are zero."""
    base = f"bert.encoder.layer.{layer}.attention"
    rows = slice(head * size, (head + 1) * size)
    for part in ("query", "key", "value"):
        weights[f"{base}.self.{part}.weight"][rows] = 0
        if biases:
            weights[f"{base}.self.{part}.bias"][rows] = 0
    weights[f"{base}.output.dense.weight"][:, rows] = 0


@pytest.mark.parametrize(
    ("rows", "columns", "sparsity", "pattern"),
    [
        (1, 1, 0.9, "unstructured"),  # oBERT, Prune Once for All
        (1, 4, 0.8, "1x4"),  # oBERT and Prune Once for All for int8 kernels
        (4, 1, 0.8, "4x1"),
        (8, 1, 0.8, "8x1"),
        (16, 1, 0.8, "16x1"),
        (4, 4, 0.8, "4x4"),
        (32, 32, 0.6, "32x32"),  # block movement pruning
    ],
)
def test_patterns_are_recognised_and_kept(tmp_path, rows, columns, sparsity, pattern):
    config, weights = noise_weights(**SIZES)
    prune_checkpoint(weights, rows, columns, sparsity)
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = some_ids()
    truth = answers(network, ids)
    before = dict(network.linears)
    found_before = find_zeros(network)
    report = prune(network, ()).details
    assert set(report["found"]) == set(encoder_names(network))
    for name, found in found_before.items():
        assert found.pattern == report["found"][name]["pattern"] == pattern, name
        # 32x32 leaves a matrix of 128x128 sixteen blocks to draw.
        assert found.sparsity == pytest.approx(sparsity, abs=0.35 if pattern == "32x32" else 0.06)
        if rows % 4 == 0 and columns % 4 == 0:
            assert found.block_density == pytest.approx(1 - found.sparsity)
    if not report["dead_heads"] and not report["dead_neurons"]:
        assert all(network.linears[name] is before[name] for name in before)
    np.testing.assert_allclose(answers(network, ids), truth, atol=1e-5)
    assert f"({pattern})" in network.notes[-1]


def test_a_dense_checkpoint_is_left_alone(tmp_path):
    network = read_network(tmp_path / "checkpoint")
    notes, before = list(network.notes), dict(network.linears)
    report = prune(network, ())
    assert not report.details
    assert network.notes == notes
    assert all(network.linears[name] is before[name] for name in before)
    assert set(report.densities.values()) == {1.0}


def test_padding_is_no_sparsity(tmp_path):
    network = read_network(tmp_path / "checkpoint", *noise_weights(hidden_size=60, intermediate_size=50))
    assert {(one.sparsity, one.pattern, one.block_density) for one in find_zeros(network).values()} == {(0, "dense", 1)}


@pytest.mark.parametrize("biases", [True, False])
def test_removed_heads_and_neurons_are_taken_out(tmp_path, biases):
    """Hybrid-filled of nn_pruning: heads, 32x32 blocks of attention, and FFN columns with their rows."""
    config, weights = noise_weights(**SIZES)
    prune_checkpoint(weights, 32, 32, 0.3, (".attention.",), seed=1)
    remove_head(weights, 0, 1, biases=biases)
    remove_head(weights, 0, 3, biases=biases)
    base = "bert.encoder.layer.1"
    dead = np.random.RandomState(0).permutation(256)[:100]
    weights[f"{base}.intermediate.dense.weight"][dead] = 0
    if biases:
        weights[f"{base}.intermediate.dense.bias"][dead] = 0
    weights[f"{base}.output.dense.weight"][:, dead] = 0
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = some_ids()
    truth = answers(network, ids)
    report = prune(network, ())
    first, second = network.architecture.layers
    assert (first.num_heads, first.ffn_size) == (2, 256)
    assert (second.num_heads, second.ffn_size) == (4, 156)
    assert (report.details["dead_heads"], report.details["dead_neurons"]) == (2, 100)
    np.testing.assert_allclose(answers(network, ids), truth, atol=1e-5)
    assert "2 heads and 100 neurons" in network.notes[-1]
    assert report.densities["layers.1.ffn.down"] == pytest.approx(156 / 256)


def test_constants_of_dead_heads_and_neurons_stay(tmp_path):
    """No weights lead into them, but their biases are not zero, and others read what they make of them."""
    config, weights = noise_weights(**SIZES)
    base = "bert.encoder.layer.0"
    weights[f"{base}.attention.self.value.weight"][32:64] = 0
    weights[f"{base}.intermediate.dense.weight"][10:40] = 0
    # And the other way round: neurons that nobody reads.
    weights[f"{base}.output.dense.weight"][:, 100:120] = 0
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = some_ids()
    truth = answers(network, ids)
    prune(network, ())
    assert network.architecture.layers[0].num_heads == 3
    assert network.architecture.layers[0].ffn_size == 256 - 30 - 20
    np.testing.assert_allclose(answers(network, ids), truth, atol=2e-5)


def test_a_layer_keeps_one_head_and_one_neuron(tmp_path):
    config, weights = noise_weights(**SIZES)
    base = "bert.encoder.layer.0"
    weights[f"{base}.attention.self.value.weight"][:] = 0
    weights[f"{base}.output.dense.weight"][:] = 0
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = some_ids()
    truth = answers(network, ids)
    prune(network, ())
    assert (network.architecture.layers[0].num_heads, network.architecture.layers[0].ffn_size) == (1, 1)
    np.testing.assert_allclose(answers(network, ids), truth, atol=1e-5)


def test_padded_heads_are_removed_too(tmp_path):
    """Three heads of 20 lie in 32 rows each."""
    config, weights = noise_weights(hidden_size=60)
    remove_head(weights, 1, 1, size=20)
    network = read_network(tmp_path / "checkpoint", config, weights)
    ids = some_ids()
    truth = answers(network, ids)
    assert prune(network, ()).details["dead_heads"] == 1
    np.testing.assert_allclose(answers(network, ids), truth, atol=1e-5)


def test_what_is_zero_counts_towards_what_is_asked_for(tmp_path):
    config, weights = noise_weights(**SIZES)
    prune_checkpoint(weights, 4, 4, 0.5)
    network = read_network(tmp_path / "checkpoint", config, weights)
    before = dict(network.linears)
    prune(network, ["4x4:0.25"], method="magnitude")
    assert all((network.linears[name].weight == before[name].weight).all() for name in before)
    prune(network, ["4x4:0.75"], method="magnitude")
    for name, one in find_zeros(network).items():
        assert one.sparsity == pytest.approx(0.75, abs=0.01)
        assert not network.linears[name].weight[before[name].weight == 0].any()


def test_a_sparse_checkpoint_becomes_a_sparse_file(tmp_path):
    config, weights = noise_weights(**SIZES)
    prune_checkpoint(weights, 4, 4, 0.8)
    remove_head(weights, 0, 2)
    read_network(tmp_path / "checkpoint", config, weights)
    report = convert(tmp_path / "checkpoint", tmp_path / "model", calibrate=["a good book"])
    model = read_model(tmp_path / "model")
    encoder = {name: linear for name, linear in model.config.linears.items() if name.startswith("layers.")}
    assert {linear.kind for linear in encoder.values()} == {"int8-4x4"}
    assert all(linear.density == pytest.approx(0.2, abs=0.05) for linear in encoder.values())
    assert model.config.architecture.layers[0].num_heads == 3
    assert any("the checkpoint is sparse" in note for note in report.notes)
    assert model.config.report["passes"][0]["details"]["found"]["layers.0.ffn.up"]["pattern"] == "4x4"
    answer = minibert.load(tmp_path / "model", backend="numpy").predict("a good movie")
    assert answer["label"] in ("bad", "so-so", "good")
