"""Passes that let tokens and texts leave early: what they write, what they promise, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.engine.adaptive import adapted
from minibert.errors import InputError, UnsupportedError
from minibert.tasks.scores import softmax
from minibert_converter.export import export
from minibert_converter.passes.adaptive.bound import at_most, least_sample, upper_bound
from minibert_converter.passes.adaptive.exits import _choose, _fit
from minibert_converter.passes.adaptive.tokens import prune_tokens
from tests.converter.networks import (
    MANY_TEXTS,
    TEXTS,
    add_exits,
    answers,
    noise_weights,
    quantize,
    read_network,
    some_ids,
)
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


def test_bounds_are_those_of_clopper_and_pearson():
    """Where there is a formula, and for one of ten and five of twenty, whose two-sided intervals are in every table."""
    assert upper_bound(0, 299, 0.95) == pytest.approx(1 - 0.05 ** (1 / 299), rel=1e-9)
    assert upper_bound(19, 20, 0.9) == pytest.approx(0.9 ** (1 / 20), rel=1e-9)
    assert upper_bound(1, 10, 0.975) == pytest.approx(0.4450, abs=5e-5)
    assert upper_bound(5, 20, 0.975) == pytest.approx(0.4910, abs=5e-5)
    assert upper_bound(20, 20, 0.9) == 1
    assert sum(at_most(k, 30, 0.2) - at_most(k - 1, 30, 0.2) for k in range(1, 31)) == pytest.approx(1 - 0.8**30)
    assert [least_sample(0.01, each) for each in (0.95, 0.99)] == [299, 459]


def test_the_threshold_is_the_last_before_the_promise_breaks():
    """Of 400 texts, the 40 least sure ones, from 0.5 to 0.9, are guessed wrong: few of them may leave."""
    final = np.eye(2, dtype=np.float32)[[0] * 400]
    sure = np.array([*np.linspace(0.501, 0.899, 40), *[0.97] * 360], np.float32)
    guess = np.stack([sure, 1 - sure], axis=1)
    guess[:40] = guess[:40, ::-1]
    strict = _choose({0: guess}, final, depth=3, tolerance=0.01, threshold=0.0, confidence=0.95)
    assert strict is not None
    assert strict.threshold == 0.9
    assert (strict.tested, strict.changed, strict.same_label) == (400, 0, 1)
    assert strict.bound == pytest.approx(upper_bound(0, 400, 0.95), abs=1e-6)
    assert strict.leave == (0.9,)
    assert strict.layers == pytest.approx(0.9 * 1 + 0.1 * 3)
    loose = _choose({0: guess}, final, 3, tolerance=0.05, threshold=0.0, confidence=0.95)
    assert loose is not None
    assert loose.threshold < 0.9
    assert 0 < loose.changed < 20  # 5 % of 400: the bound keeps away from it
    assert _choose({0: guess}, final, 3, tolerance=0.001, threshold=0.0, confidence=0.95) is None
    given = _choose({0: guess}, final, 3, tolerance=0.001, threshold=0.5, confidence=0.95)
    assert given is not None
    assert given.changed == 40


def test_the_promise_is_broken_no_more_often_than_it_says():
    """Many worlds in which guesses are right as often as they are sure: in 90 % of them the true share keeps below."""
    random = np.random.default_rng(0)
    broken = 0
    for _ in range(200):
        sure = random.uniform(0.5, 1, 600).astype(np.float32)
        wrong = random.random(600) > sure
        guess = np.stack([np.where(wrong, 1 - sure, sure), np.where(wrong, sure, 1 - sure)], axis=1)
        chosen = _choose({0: guess}, np.eye(2, dtype=np.float32)[[0] * 600], 3, 0.03, 0.0, 0.9)
        if chosen is not None:  # the share of texts that leave and are wrong, in that world: an integral of 1 - p
            broken += (1 - chosen.threshold) ** 2 > 0.03
    assert broken <= 30  # of 20 expected at most; 30 or more come once in a hundred times


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
    with pytest.raises(InputError, match="give 298 or more with --calibrate"):
        add_exits(network, [], TEXTS)
    with pytest.raises(InputError, match="excluded"):
        add_exits(network, [], TEXTS, tolerance=0.0)
    config, weights = noise_weights()
    config["problem_type"] = "regression"
    with pytest.raises(UnsupportedError, match="one label a text"):
        add_exits(read_network(tmp_path / "regression", config, weights), [], TEXTS)


def test_no_exits_where_nobody_leaves(network, monkeypatch):
    monkeypatch.setattr("minibert_converter.passes.adaptive.exits._THRESHOLDS", (0.9999,))
    report = add_exits(network, [0], MANY_TEXTS, tolerance=0.06)
    assert not report.details
    assert network.architecture.exits == ()
    assert "exits.0" not in network.linears
    assert "no early exit" in network.notes[-1]


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
