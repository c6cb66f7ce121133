"""Passes that let tokens and texts leave early: what they write, what they promise, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.engine.adaptive import adapted
from minibert.errors import InputError, UnsupportedError
from minibert.tasks.scores import softmax
from minibert_converter.export import export
from minibert_converter.passes.adaptive.exits import _choose, _fit
from minibert_converter.passes.adaptive.tokens import prune_tokens
from tests.converter.networks import TEXTS, add_exits, answers, noise_weights, quantize, read_network, some_ids
from tests.models import RandomModel

IDS = some_ids((3, 7, 5, 12, 9, 14))


@pytest.fixture
def network(tmp_path):
    """A classifier of three layers."""
    config, weights = noise_weights(num_hidden_layers=3)
    return read_network(tmp_path / "checkpoint", config, weights)


def test_parts_of_a_text_become_parts_of_what_is_left(network):
    whole = answers(network, IDS)
    report = prune_tokens(network, [0.8, 0.4], TEXTS).details
    assert [layer.keep_tokens for layer in network.architecture.layers] == [0.8, 0.5, 1.0]
    assert report["left"] == [0.8, 0.4, 0.4]
    assert 0 < report["cosine"] < 1
    assert np.abs(answers(network, IDS) - whole).max() > 0
    assert "tokens pruned to 40%" in network.notes[-1]


def test_everything_may_stay(network):
    whole = answers(network, IDS)
    report = prune_tokens(network, [1.0], TEXTS).details
    assert report["same_label"] == report["cosine"] == 1
    np.testing.assert_array_equal(answers(network, IDS), whole)


@pytest.mark.parametrize("left", [[0.5, 0.6], [0.0], [1.2], [0.9, 0.8, 0.7, 0.6]], ids=str)
def test_parts_that_are_none(network, left):
    with pytest.raises(InputError, match="prune_tokens"):
        prune_tokens(network, left, TEXTS)


def test_a_linear_learns_probabilities():
    random = np.random.default_rng(0)
    rows = random.standard_normal((600, 20)).astype(np.float32) * np.float32(3) + np.float32(5)
    wanted = softmax(rows @ random.standard_normal((20, 4)).astype(np.float32) * np.float32(0.5))
    weight, bias = _fit(rows[:400], wanted[:400])
    guess = softmax(rows[400:] @ weight.T + bias)
    assert (guess.argmax(axis=1) == wanted[400:].argmax(axis=1)).mean() > 0.9


def test_the_threshold_is_the_lowest_that_keeps_the_promise():
    """Of ten texts, the least sure guess is wrong: it must stay."""
    final = np.eye(2, dtype=np.float32)[[0] * 10]
    sure = np.array([0.55] + [0.7] * 9, np.float32)
    guess = np.stack([sure, 1 - sure], axis=1)
    guess[0] = guess[0, ::-1]
    strict = _choose({0: guess}, final, depth=3, tolerance=0.0, threshold=0.0)
    assert strict.threshold == 0.6
    assert strict.same_label == 1
    assert strict.leave == (0.9,)
    assert strict.layers == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert _choose({0: guess}, final, 3, tolerance=0.1, threshold=0.0).threshold == 0.5


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_exits_answer_as_the_model_would(network, form):
    if form == "int8":
        quantize(network, texts=TEXTS)
    whole = answers(network, IDS)
    report = add_exits(network, [], TEXTS, threshold=0.51).details
    assert report["after"] == (0, 1)
    assert [one.after for one in network.architecture.exits] == [0, 1]
    config, tensors = export(network)
    model = RandomModel(config, tensors)
    off = RandomModel(adapted(config, early_exit=False), tensors)
    types = [[0] * len(text) for text in IDS]
    np.testing.assert_allclose(off.engine().forward(IDS, types), off.reference().forward(IDS, types), atol=1e-5)
    np.testing.assert_allclose(off.reference().forward(IDS, types), whole, atol=1e-5)
    early = model.engine(backend="numpy").forward(IDS, types)
    assert early.shape == whole.shape
    assert (np.abs(early - whole).max(axis=1) > 1e-6).any()
    assert sum(report["leave"]) > 0


def test_what_has_no_exits(tmp_path, network):
    with pytest.raises(InputError, match="from 0 to 1"):
        add_exits(network, [2], TEXTS)
    with pytest.raises(InputError, match="too few"):
        add_exits(network, [], TEXTS[:5])
    config, weights = noise_weights()
    config["problem_type"] = "regression"
    with pytest.raises(UnsupportedError, match="one label a text"):
        add_exits(read_network(tmp_path / "regression", config, weights), [], TEXTS)


def test_knobs_at_run_time(network):
    add_exits(network, [0], TEXTS, threshold=0.9)
    prune_tokens(network, [0.5], TEXTS)
    config, _tensors = export(network)
    assert adapted(config) == config
    assert adapted(config, early_exit=0.7).architecture.exits[0].threshold == 0.7
    off = adapted(config, early_exit=False, token_pruning=False).architecture
    assert off.exits == ()
    assert {layer.keep_tokens for layer in off.layers} == {1.0}
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(InputError, match="early_exit must be"):
            adapted(config, early_exit=wrong)
    with pytest.raises(InputError, match="no exits"):
        adapted(adapted(config, early_exit=False), early_exit=0.5)
