"""Each part of the quantizer against its plain definition."""

from __future__ import annotations

import numpy as np
import pytest

from minibert_converter.network import QuantizedLinear
from minibert_converter.passes.quantize import rounding
from minibert_converter.passes.quantize.matrix import (
    Use,
    output_error,
    quantize_calibrated,
    quantize_table,
    table_error,
)
from minibert_converter.passes.quantize.migration import Loss, input_factors, smoothquant_factors
from minibert_converter.passes.quantize.rounding import round_compensated, round_to_nearest, row_scales
from minibert_converter.passes.quantize.statistics import SAMPLE_ROWS, InputStatistics


@pytest.fixture
def random():
    return np.random.default_rng(5)


def correlated(random, rows, size, rank, offset=0.0):
    """Inputs as a transformer has them: few directions carry most, some channels are large, all are a bit off zero."""
    mixed = random.standard_normal((rows, rank)) @ random.standard_normal((rank, size))
    mixed += 0.1 * random.standard_normal((rows, size))
    return (mixed * np.exp(random.standard_normal(size)) + offset).astype(np.float32)


def gather(rows, chunk):
    statistics = InputStatistics(seed=3)
    for start in range(0, len(rows), chunk):
        statistics.add(rows[start : start + chunk])
    return statistics


# statistics


def test_moments_are_those_of_all_rows_at_once(random):
    rows = correlated(random, 301, 12, 4, offset=50.0)
    statistics = gather(rows, 40)
    exact = rows.astype(np.float64)
    centre = exact.mean(axis=0)
    assert statistics.count == 301
    np.testing.assert_allclose(statistics.mean, centre, rtol=1e-6)
    spread = (exact - centre).T @ (exact - centre) / len(rows)
    scale = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    assert (np.abs(statistics.moments - spread) <= 1e-4 * scale).all()
    assert (np.abs(statistics.spread - spread) <= 1e-4 * scale).all()


def test_few_rows_are_all_kept_in_order_and_of_many_a_uniform_sample():
    rows = np.arange(3 * SAMPLE_ROWS, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(gather(rows[:500], 64).sample, rows[:500])
    many = gather(rows, 1000).sample[:, 0]
    assert len(many) == SAMPLE_ROWS
    assert (np.diff(many) > 0).all()
    # Each third of the stream gives its third of the sample, give or take five standard deviations.
    thirds = np.bincount((many // SAMPLE_ROWS).astype(int), minlength=3)
    assert np.abs(thirds - SAMPLE_ROWS / 3).max() < 5 * np.sqrt(SAMPLE_ROWS * 2 / 9)


def test_same_seed_gives_same_sample_and_another_seed_another():
    rows = np.arange(2 * SAMPLE_ROWS, dtype=np.float32)[:, None]
    other = InputStatistics(seed=4)
    other.add(rows)
    np.testing.assert_array_equal(gather(rows, 2 * SAMPLE_ROWS).sample, gather(rows, 2 * SAMPLE_ROWS).sample)
    assert (gather(rows, 2 * SAMPLE_ROWS).sample != other.sample).any()


# rounding


def test_round_to_nearest_is_within_half_a_step_and_uses_the_whole_range(random):
    weight = (random.standard_normal((7, 33)) * np.exp(random.standard_normal((7, 1)) * 4)).astype(np.float32)
    codes, scales = round_to_nearest(weight)
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(np.abs(codes.astype(int)).max(axis=1), 127)
    assert (np.abs(codes * scales[:, None] - weight) <= scales[:, None] * 0.5001).all()


def test_rows_of_zeros_or_of_next_to_nothing_have_codes_of_zero():
    weight = np.zeros((3, 8), np.float32)
    weight[1] = 1e-38
    weight[2, 3] = -2.0
    codes, scales = round_to_nearest(weight)
    assert not codes[:2].any()
    assert codes[2].tolist() == [0, 0, 0, -127, 0, 0, 0, 0]
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_compensated_rounding_with_uncorrelated_inputs_is_to_the_nearest(random):
    weight = random.standard_normal((9, 300)).astype(np.float32)
    codes, scales = round_compensated(weight, np.diag(random.uniform(0.5, 2.0, 300)))
    nearest, nearest_scales = round_to_nearest(weight)
    np.testing.assert_array_equal(codes, nearest)
    np.testing.assert_array_equal(scales, nearest_scales)


def test_compensated_rounding_follows_optimal_brain_quantization_column_by_column(random):
    """The plain algorithm: round one column, spread its error by the inverse of what is left, invert again."""
    size = 10
    rows = correlated(random, 200, size, 3).astype(np.float64)
    moments = rows.T @ rows / len(rows)
    weight = random.standard_normal((4, size)).astype(np.float32)
    codes, scales = round_compensated(weight, moments)

    damped = moments + rounding._DAMPING * np.diag(moments).mean() * np.eye(size)
    left = weight.astype(np.float64) / scales[:, None]
    remaining = list(np.argsort(-np.diag(moments)))
    expected = np.zeros((4, size))
    while remaining:
        inverse = np.linalg.inv(damped[np.ix_(remaining, remaining)])
        column = remaining[0]
        expected[:, column] = np.clip(np.rint(left[:, column]), -127, 127)
        error = left[:, column] - expected[:, column]
        left[:, remaining] -= np.outer(error / inverse[0, 0], inverse[0])
        remaining = remaining[1:]
    np.testing.assert_array_equal(codes, expected)


def test_compensated_rounding_halves_the_error_of_outputs_across_blocks(random):
    rows = correlated(random, 2000, 272, 20)
    weight = random.standard_normal((40, 272)).astype(np.float32)
    moments = rows.T.astype(np.float64) @ rows / len(rows)

    def error(codes, scales):
        return np.square(rows @ (codes * scales[:, None] - weight).T).mean()

    assert error(*round_compensated(weight, moments)) < 0.5 * error(*round_to_nearest(weight))


def test_inputs_that_are_always_zero_do_not_disturb_rounding(random):
    rows = correlated(random, 100, 16, 4)
    rows[:, 10:] = 0
    weight = random.standard_normal((5, 16)).astype(np.float32)
    moments = rows.T.astype(np.float64) @ rows
    codes, scales = round_compensated(weight, moments)
    nearest, _ = round_to_nearest(weight)
    np.testing.assert_array_equal(codes[:, 10:], nearest[:, 10:])
    np.testing.assert_array_equal(scales, row_scales(weight))
    silent, _ = round_compensated(weight, np.zeros((16, 16)))
    np.testing.assert_array_equal(silent, nearest)


# migration


def test_loss_is_its_definition_and_its_gradient_the_difference_quotient(random):
    columns = np.abs(random.standard_normal((6, 9)))
    inputs = random.standard_normal((50, 9))
    inputs[::5] = np.abs(inputs[::5])  # a row spans zero too
    factor = np.exp(0.3 * random.standard_normal(9))

    def plain(f):
        a = sum(((max(0, *(f * x)) - min(0, *(f * x))) / 2) ** 2 for x in inputs) / len(inputs)
        b = sum(sum(column**2) / f[j] ** 2 for j, column in enumerate(columns.T))
        c = sum(max((row / f) ** 2) for row in columns)
        d = sum(f[j] ** 2 * np.mean(x**2) for j, x in enumerate(inputs.T))
        return a * b + 0.4 * c * d

    value, gradient = Loss(columns, inputs)(factor)
    assert value == pytest.approx(plain(factor))
    for j in range(9):
        nudge = np.exp(1e-6 * (np.arange(9) == j))
        slope = (plain(factor * nudge) - plain(factor / nudge)) / 2e-6
        assert gradient[j] == pytest.approx(slope / value, abs=1e-4)


def test_smoothquant_rule_with_one_half_balances_inputs_and_weights(random):
    columns = np.abs(random.standard_normal((6, 9)))
    inputs = random.standard_normal((50, 9))
    factor = smoothquant_factors(columns, inputs)
    ratio = np.abs(inputs * factor).max(axis=0) / (columns / factor).max(axis=0)
    np.testing.assert_allclose(ratio, ratio[0])


def test_factors_beat_smoothquant_on_outliers(random):
    weight = random.standard_normal((32, 64)).astype(np.float32)
    rows = random.standard_normal((400, 64)).astype(np.float32)
    rows[:, 7] *= 60
    rows[random.random(400) < 0.1, 20] *= 25
    columns = np.abs(weight)
    factor = input_factors(weight, rows)
    loss = Loss(columns, rows)
    found = loss(factor)[0]
    rule = min(loss(smoothquant_factors(columns, rows, a / 10))[0] for a in range(11))
    assert found < 0.98 * rule
    assert found < 0.2 * loss(np.ones(64, np.float32))[0]
    assert factor[7] < 0.3 * np.median(factor)
    assert np.exp(np.log(factor).mean()) == pytest.approx(1, abs=1e-5)


def test_channels_without_use_have_factor_one(random):
    weight = random.standard_normal((8, 12)).astype(np.float32)
    rows = random.standard_normal((30, 12)).astype(np.float32)
    weight[:, 3] = 0
    rows[:, 10:] = 0
    factor = input_factors(weight, rows)
    assert factor[[3, 10, 11]].tolist() == [1, 1, 1]
    assert (factor > 0).all()
    assert input_factors(weight, np.zeros((5, 12), np.float32)).tolist() == [1] * 12


# a matrix


def test_output_error_quantizes_rows_as_the_engine_does():
    """Codes of 1/2 and 3/2 in a row from -126 to 126 are 0 and 2 (half to even)."""
    rows = np.array([[126.0, 0.5, 1.5, -126.0], [126.0, -0.5, -1.5, -126.0]], np.float32)
    weight = np.array([[0.0, 100.0, 1.0, 0.0]], np.float32)
    quantized = QuantizedLinear(*round_to_nearest(weight), np.zeros(1, np.float32))
    error = np.array([0 * 100 + 2 - (50 + 1.5), -(0 * 100 + 2) + (50 + 1.5)])
    # Codes of the weights are 0, 127, 1 of steps of 100 / 127, so 1.0 is stored as 0.787.
    stored = np.array([2 * 100 / 127 - 51.5, -2 * 100 / 127 + 51.5])
    assert not np.allclose(error, stored)
    expected = np.linalg.norm(stored) / np.linalg.norm([51.5, -51.5])
    assert output_error(weight, quantized, rows) == pytest.approx(expected, rel=1e-5)


def test_calibrated_matrix_loses_less_and_keeps_the_mean_output(random):
    rows = correlated(random, 1500, 48, 10, offset=0.5)
    rows[:, 5] += 30
    weight = random.standard_normal((20, 48)).astype(np.float32)
    bias = random.standard_normal(20).astype(np.float32)
    seen = gather(rows, 256)
    nothing = np.zeros(48, np.float32)
    quantized = quantize_calibrated(weight, [Use(bias, seen, nothing)])[0]
    nearest = QuantizedLinear(*round_to_nearest(weight), bias)
    assert output_error(weight, quantized, rows) < 0.6 * output_error(weight, nearest, rows)
    mean = rows.mean(axis=0)
    expected = weight @ mean + bias
    np.testing.assert_allclose(quantized.dequantized() @ mean + quantized.bias, expected, atol=2e-3)
    assert np.abs(nearest.dequantized() @ mean + bias - expected).max() > 2e-2

    shifted = quantize_calibrated(weight, [Use(bias + weight @ seen.mean, seen, seen.mean)])[0]
    assert output_error(weight, shifted, rows - seen.mean) < 0.95 * output_error(weight, quantized, rows)


def test_table_error_is_relative_to_the_rows(random):
    table = random.standard_normal((50, 32)).astype(np.float32)
    quantized = quantize_table(table)
    difference = quantized.q * quantized.scale[:, None] - table
    assert table_error(table, quantized) == pytest.approx(np.sqrt(np.mean(difference**2) / np.mean(table**2)), rel=1e-5)
    assert 1e-3 < table_error(table, quantized) < 2e-2
