"""Least squares on rows that come in chunks."""

from __future__ import annotations

import numpy as np
import pytest

from minibert_converter.calibration.regression import Regression, masked_solution


@pytest.fixture
def random():
    return np.random.default_rng(5)


def gather(x, y, chunk=40):
    regression = Regression()
    for start in range(0, len(x), chunk):
        regression.add(x[start : start + chunk], None if y is None else y[start : start + chunk])
    return regression


def test_moments_are_those_of_all_rows_at_once(random):
    x = (random.standard_normal((301, 12)) @ random.standard_normal((12, 12)) + 500).astype(np.float32)
    y = (random.standard_normal((301, 3)) - 70).astype(np.float32)
    regression = gather(x, y)
    assert regression.count == 301
    means = [rows.astype(np.float64).mean(axis=0) for rows in (x, y)]
    for mean, expected in zip(regression.means, means, strict=True):
        np.testing.assert_allclose(mean, expected, rtol=1e-6)
    x, y = x - means[0], y - means[1]
    np.testing.assert_allclose(regression.moments, x.T @ x / 301, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(regression.products, y.T @ x / 301, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(gather(x.astype(np.float32), None).moments, x.T @ x / 301, rtol=1e-3, atol=1e-3)


def test_what_is_linear_is_found(random):
    x = random.standard_normal((4000, 6)).astype(np.float32) + 5
    weight, bias = random.standard_normal((3, 6)), random.standard_normal(3)
    x[:, 4] = 2.5
    y = (x @ weight.T + bias).astype(np.float32)
    found = gather(x, y).fit(np.zeros((3, 6)), damping=1e-6)
    np.testing.assert_allclose(x @ found.T + gather(x, y).bias(found), y, atol=1e-3)
    assert np.abs(found[:, 4]).max() < 1e-3  # an input that never changes keeps its weight
    strong = gather(x, y).fit(weight, damping=1e6)
    np.testing.assert_allclose(strong, weight, atol=1e-4)
    nothing = gather(np.zeros((4, 2), np.float32), np.ones((4, 3), np.float32))
    assert not nothing.fit(np.zeros((3, 2))).any()
    np.testing.assert_allclose(nothing.bias(np.zeros((3, 2))), 1)


def test_each_row_is_fitted_on_the_inputs_that_it_kept(random):
    x = (random.standard_normal((300, 24)) @ random.standard_normal((24, 24))).astype(np.float32)
    weight = random.standard_normal((8, 24)).astype(np.float32)
    kept = random.random((8, 24)) < 0.5
    regression = gather(x, x @ weight.T)
    found = regression.fit(weight, kept)
    assert not found[~kept].any()
    moments = regression.moments
    strength = 0.01 * np.diag(moments).mean()
    moments += strength * np.eye(24)
    products = regression.products + strength * weight
    for row, target, mask in zip(found, products, kept, strict=True):
        np.testing.assert_allclose(row[mask], np.linalg.solve(moments[np.ix_(mask, mask)], target[mask]), atol=0.02)


def test_rows_that_kept_nothing_stay_zero(random):
    moments = np.eye(4, dtype=np.float32) * 2
    kept = np.array([[True, False, True, False], [False] * 4])
    found = masked_solution(moments, random.standard_normal((2, 4)).astype(np.float32), np.ones((2, 4)), kept)
    assert np.isfinite(found).all()
    assert (found != 0).tolist() == kept.tolist()
