from __future__ import annotations

import numpy as np
import pytest

from minibert.regression import TOLERANCE, fit, folds_of


def examples(count: int, seed: int = 0, dim: int = 12, texts: int = 90):
    """Vectors of length 1 about a center for each class, far from zero altogether, and the classes."""
    random = np.random.default_rng(seed)
    classes = np.arange(texts) % count
    centers = random.standard_normal((count, dim))
    vectors = centers[classes] + random.standard_normal((texts, dim)) + 3
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), classes


def slopes(found, vectors, classes, count, C, weights):
    """Gradients of the penalized mean loss, written down anew in float64."""
    weights = np.ones(len(vectors)) if weights is None else weights
    vectors = vectors.astype(np.float64)
    logits = vectors @ found.weight.T.astype(np.float64) + found.bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    wrong = (odds / odds.sum(axis=1, keepdims=True) - np.eye(count)[classes]) * (weights / weights.sum())[:, None]
    penalty = (2 if count == 2 else 1) / (C * weights.sum())
    return wrong.T @ vectors + penalty * found.weight, wrong.sum(axis=0)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_slope_is_none_where_it_ends(count, C, weighted):
    vectors, classes = examples(count)
    weights = np.random.default_rng(1).random(len(vectors)) + 0.5 if weighted else None
    found = fit(vectors, classes, count, C=C, weights=weights)
    assert found.converged
    of_weights, of_biases = slopes(found, vectors, classes, count, C, weights)
    assert np.abs(of_biases).max() < 3 * TOLERANCE
    # It was made small of vectors about their center, from which these differ by the slope of the biases.
    assert np.abs(of_weights).max() < 4 * TOLERANCE


def test_two_classes_are_a_logistic_regression():
    """Their difference is the one row of weights w that minimizes C sum(log(1 + exp(-y f))) + w² / 2."""
    vectors, classes = examples(2)
    found = fit(vectors, classes, 2, C=2.0)
    row, bias = found.weight[1] - found.weight[0], found.bias[1] - found.bias[0]
    wrong = 1 / (1 + np.exp(-(vectors @ row + bias))) - classes
    assert np.abs(wrong @ vectors * 2.0 + row).max() < 4 * TOLERANCE * 2.0 * len(vectors)
    assert found.weight[0] == pytest.approx(-found.weight[1], abs=1e-4)


def test_more_weight_is_more_examples():
    vectors, classes = examples(3)
    weights = np.where(classes == 0, 2.0, 1.0)
    twice = np.r_[np.arange(len(vectors)), np.flatnonzero(classes == 0)]
    a = fit(vectors, classes, 3, weights=weights)
    b = fit(vectors[twice], classes[twice], 3)
    assert a.logits(vectors) == pytest.approx(b.logits(vectors), abs=0.02)


def test_folds_share_every_class_evenly():
    classes = np.repeat([0, 1, 2], [7, 5, 23])
    fold = folds_of(classes, 5)
    for each in range(3):
        counts = np.bincount(fold[classes == each], minlength=5)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(fold)
    assert counts.max() - counts.min() <= 1
    assert (folds_of(classes, 5) == fold).all()
