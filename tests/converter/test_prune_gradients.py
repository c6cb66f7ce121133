"""Derivatives against differences of the engine's own forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.format.constants import POOLINGS
from minibert.format.schema import HeadLayer, Task
from minibert.reference.functions import activate
from minibert_converter.calibration.gradients import Gradients, derivative, pool, pool_backward
from minibert_converter.network import Norm
from tests.converter.networks import answers, read_network, some_ids, with_weight


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return read_network(tmp_path_factory.mktemp("classifier") / "checkpoint")


def variant(network, **changes):
    return replace(network, architecture=replace(network.architecture, **changes))


def embedder(network):
    linears = {name: linear for name, linear in network.linears.items() if name.startswith("layers.")}
    smaller = variant(network, pooling="mean", head=(), normalize=True)
    return replace(smaller, linears=linears, task=Task("sentence-embedding"))


def with_norm_in_head(network):
    hidden = network.architecture.hidden_size
    random = np.random.default_rng(3)
    norm = Norm(*(random.standard_normal((2, hidden)) + 1).astype(np.float32))
    head = (HeadLayer("head.dense", "gelu", True), HeadLayer("head.output"))
    return replace(variant(network, head=head, pooling="max"), norms={**network.norms, "head.dense.norm": norm})


VARIANTS = {
    "classifier": lambda network: network,
    "mean": lambda network: variant(network, pooling="mean"),
    "last and relu": lambda network: variant(network, pooling="last", activation="relu"),
    "norm in the head": with_norm_in_head,
    "embedder": embedder,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_derivatives_are_slopes(classifier, name, monkeypatch):
    network, ids = VARIANTS[name](classifier), some_ids()
    random = np.random.default_rng(1)
    direction = random.standard_normal(answers(network, ids).shape).astype(np.float32)
    monkeypatch.setattr(Gradients, "_direction", lambda _self, _answers: direction)
    slopes = {}
    visited = Gradients(network).run(
        ids, [[0] * len(one) for one in ids], lambda name, x, dy, _starts: slopes.update({name: dy.T @ x})
    )
    np.testing.assert_allclose(visited, answers(network, ids), atol=1e-5)  # BLAS adds in its own order
    assert set(slopes) == set(network.linears)
    for matrix, slope in slopes.items():
        weight = network.linears[matrix].weight
        step = random.standard_normal(weight.shape).astype(np.float32) * (weight != 0)
        step *= 1e-3 * np.linalg.norm(weight) / np.linalg.norm(step)
        ends = [answers(with_weight(network, matrix, weight + sign * step), ids) for sign in (1, -1)]
        measured = ((ends[0].astype(np.float64) - ends[1]) * direction).sum() / 2
        # The error of a difference is that of float32 sums.
        assert (slope * step).sum() == pytest.approx(measured, rel=0.02, abs=2e-4), matrix


@pytest.mark.parametrize("kind", ["none", "relu", "tanh", "gelu", "gelu_tanh"])
def test_derivatives_of_activations(kind):
    x = np.linspace(-4, 4, 81, dtype=np.float32) + np.float32(0.05)
    step = np.float32(2e-2)
    slope = (activate(x + step, kind) - activate(x - step, kind)) / (2 * step)
    np.testing.assert_allclose(derivative(kind, x), slope, atol=3e-3)


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_and_its_derivative(kind):
    random = np.random.default_rng(0)
    rows, starts = random.standard_normal((9, 4)).astype(np.float32), np.array([0, 2, 3, 9])
    dy = random.standard_normal(pool(kind, rows, starts).shape).astype(np.float32)
    step = random.standard_normal(rows.shape).astype(np.float32) * np.float32(1e-3)
    change = pool(kind, rows + step, starts) - pool(kind, rows, starts)
    assert (change * dy).sum() == pytest.approx((pool_backward(kind, rows, starts, dy) * step).sum(), abs=1e-5)


def test_directions_have_the_metric_of_the_answers(classifier):
    scores = np.repeat(np.float32([[0.3, -1.0, 1.2]]), 40_000, axis=0)
    odds = np.exp(scores[0]) / np.exp(scores[0]).sum()
    found = Gradients(classifier)._direction(scores)
    np.testing.assert_allclose(found.T @ found / len(found), np.diag(odds) - np.outer(odds, odds), atol=0.01)
    multi = Gradients(replace(classifier, task=replace(classifier.task, problem_type="multi_label")))
    odds = 1 / (1 + np.exp(-scores[0]))
    found = multi._direction(scores)
    np.testing.assert_allclose(found.T @ found / len(found), np.diag(odds * (1 - odds)), atol=0.01)
    found = Gradients(embedder(classifier))._direction(scores)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(3), atol=0.02)
