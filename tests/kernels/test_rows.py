"""Steps that work row by row against their NumPy twins, bit for bit: embedding, quantizing, pooling, normalizing."""

from __future__ import annotations

import numpy as np
import pytest

from minibert import plan
from minibert.format import Table
from minibert.format.constants import SUBVECTOR_SIZES
from minibert.reference import functions
from minibert.reference.tables import look_up
from tests.kernels.inputs import ROWS, rows
from tests.kernels.steps import Steps
from tests.models import RandomModel, random_model

CODEBOOKS = [Table("codebook", 1, size) for size in SUBVECTOR_SIZES]
LENGTHS = [1, 2, 13, 1, 40, 7]


@pytest.mark.parametrize("following", ["int8", "float32"])
@pytest.mark.parametrize("tables", ["int8", "float32", "int4", *CODEBOOKS], ids=str)
@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 40},
        {"hidden_size": 312, "input_factor": True},
        {"hidden_size": 64, "token_types": 0},
        {"hidden_size": 1, "token_types": 5, "eps": 0.5},
        {"hidden_size": 40, "eps": 1e-5, "norm": "rms", "pre_norm": True, "sum_of_embeddings": True},
    ],
    ids=str,
)
def test_embedding(kernels, sizes, tables, following):
    model = random_model(following, tables=tables, layers=1, pooling="mean", **sizes)
    ids, types = model.texts(LENGTHS)
    steps = Steps(model, kernels, LENGTHS, ids, types)
    steps.run(0)

    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    expected = _looked_up(model, "word", steps.ids) + _looked_up(model, "position", positions)
    if model.config.architecture.token_types:
        expected = expected + _looked_up(model, "token_type", steps.token_types)
    norm = [model.tensors[f"embeddings.norm.{part}"] for part in ("weight", "bias")]
    architecture = model.config.architecture
    normalize = functions.rms_norm if architecture.norm == "rms" else functions.layer_norm
    expected = normalize(expected, *norm, architecture.hidden_size, architecture.layer_norm_eps)
    np.testing.assert_array_equal(steps.out(0), expected)
    assert not expected[:, architecture.hidden_size :].any()
    if following == "int8":
        _check_codes(steps, 0, expected, model.tensors.get("layers.0.attention.qkv.input_factor"))


def _looked_up(model: RandomModel, name: str, index: np.ndarray) -> np.ndarray:
    name = f"embeddings.{name}"
    return look_up(name, model.config.tables[name], model.tensors, index)


@pytest.mark.parametrize("input_factor", [False, True])
@pytest.mark.parametrize("case", ROWS)
def test_quantizing(kernels, case, input_factor):
    model = random_model(layers=1, pooling="mean", heads=5, head_size=26, input_factor=input_factor)
    steps = Steps(model, kernels, [37])
    number = steps.find(plan.Quantize)
    source = rows(case, 37, 160)
    steps.source(number)[:] = source
    steps.run(number)
    _check_codes(steps, number, source, model.tensors.get("layers.0.attention.output.input_factor"))


def test_halves_are_rounded_to_even(kernels):
    steps = Steps(random_model(layers=1, pooling="mean", heads=1, head_size=16), kernels, [2])
    number = steps.find(plan.Quantize)
    halves = np.array([126, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5, -63.5, 125.5, -125.5, 0, 1, -1, -126, 100.5])
    steps.source(number)[0] = halves
    steps.source(number)[1] = halves + 1  # the zero point is odd: with it the code is even
    steps.run(number)
    codes, scales, zeros = steps.codes(number)
    expected = np.array([126, 0, 2, 2, 0, -2, -2, 64, -64, 126, -126, 0, 1, -1, -126, 100])
    assert zeros.tolist() == [0, -1]
    np.testing.assert_array_equal(codes, [expected, expected])
    np.testing.assert_array_equal(scales, np.float32(252) * np.float32(1 / 252))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 0), (-0.17, 5), (3, 7), (-7, -3)])
def test_a_row_uses_all_codes_that_its_numbers_and_zero_need(kernels, low, high):
    steps = Steps(random_model(layers=1, pooling="mean", heads=1, head_size=16), kernels, [1])
    number = steps.find(plan.Quantize)
    row = np.linspace(low, high, 16, dtype=np.float32)
    steps.source(number)[0] = row
    steps.run(number)
    codes, scales, zeros = steps.codes(number)
    assert codes.max() == 126 if high > 0 else zeros[0] == 126
    assert codes.min() == -126 if low < 0 else zeros[0] == -126
    assert np.abs((codes - zeros) * scales - row).max() <= scales[0] / 2 * 1.0001
    assert scales[0] == pytest.approx((max(high, 0) - min(low, 0)) / 252)


def test_codes_never_leave_their_range(kernels):
    """The ends of a row, or its zero, are about 126 and -126, whatever they are: rounding goes one further at most."""
    model = random_model(layers=1, pooling="mean", heads=1, head_size=16)
    random = np.random.default_rng(5)
    source = np.exp2(random.uniform(-99, 99, (4096, 1))) * random.uniform(-1, 1, (4096, 16))
    source[::2] = random.integers(-300, 301, (2048, 16)) / 2  # many halves
    steps = Steps(model, kernels, [len(source)])
    number = steps.find(plan.Quantize)
    steps.source(number)[:] = source
    steps.run(number)
    codes, scales, zeros = steps.codes(number)
    assert set(np.maximum(codes.max(axis=1), zeros)) <= {126, 127}
    assert set(np.minimum(codes.min(axis=1), zeros)) <= {-125, -126, -127}
    assert (np.abs((codes - zeros[:, None]) * scales[:, None] - source) <= 0.501 * scales[:, None]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_end_as_codes(kernels, value):
    steps = Steps(random_model(layers=1, pooling="mean", heads=1, head_size=16), kernels, [3])
    number = steps.find(plan.Quantize)
    steps.source(number)[:] = 1
    steps.source(number)[1, 3] = value
    steps.run(number)
    codes, scales, zeros = steps.codes(number)
    assert (codes[[0, 2]] == 126).all()
    assert zeros[[0, 2]].tolist() == [-126, -126]
    np.testing.assert_array_equal(scales[[0, 2]], np.float32(1 / 252))


def _check_codes(steps: Steps, number: int, expected: np.ndarray, factor: np.ndarray | None) -> None:
    for own, twin in zip(steps.codes(number), functions.quantize(expected, factor), strict=True):
        np.testing.assert_array_equal(own, twin)


POOLINGS = ["cls", "last", "max", "mean", "weighted_mean", "mean_sqrt_length"]


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("pooling", [*POOLINGS, "+".join(POOLINGS), "mean+cls"])
@pytest.mark.parametrize("case", ROWS)
def test_pooling(kernels, pooling, case, wanted):
    model = random_model(pooling=pooling, hidden_size=95, pool_prompt=not wanted)
    steps = Steps(model, kernels, LENGTHS)
    number = steps.find(plan.Pool)
    source = rows(case, sum(LENGTHS), 96)
    source[:, 95] = 0
    steps.source(number)[:] = source
    flags = np.random.default_rng(3).random(sum(LENGTHS)) < 0.7 if wanted else np.ones(sum(LENGTHS), bool)
    flags[steps.starts[1:] - 1] = True
    steps.run(number, flags if wanted else None)
    expected = np.zeros_like(steps.out(number))
    for text, (first, end) in enumerate(zip(steps.starts, steps.starts[1:], strict=False)):
        kept = np.flatnonzero(flags[first:end])
        parts = [_pooled(source[first + kept, :95], kept + 1, kind) for kind in pooling.split("+")]
        expected[text, : 95 * len(parts)] = np.concatenate(parts)
    np.testing.assert_array_equal(steps.out(number), expected)


def _pooled(text: np.ndarray, places: np.ndarray, pooling: str) -> np.ndarray:
    if pooling in ("cls", "last", "max"):
        return {"cls": text[0], "last": text[-1], "max": text.max(axis=0)}[pooling]
    weights = (places if pooling == "weighted_mean" else np.ones(len(places))).astype(np.float32)
    total = text[0] * weights[0]
    for row, weight in zip(text[1:], weights[1:], strict=True):
        total += row * weight
    length = np.float32(places.sum() if pooling == "weighted_mean" else len(text))
    return total * (np.float32(1) / (np.sqrt(length) if pooling == "mean_sqrt_length" else length))


@pytest.mark.parametrize("case", ROWS)
def test_mixing(kernels, case):
    model = random_model(pooling="mean", hidden_size=70, layer_weights=[0.3, 0.0, -1.7])
    steps = Steps(model, kernels, LENGTHS)
    first, second = steps.find(plan.Mix, first=True), steps.find(plan.Mix, first=False)
    source, other = rows(case, sum(LENGTHS), 80), rows("random", sum(LENGTHS), 80)
    for number, values in ((first, source), (second, other)):
        steps.source(number)[:] = values
        steps.run(number)
    np.testing.assert_array_equal(steps.out(second), source * np.float32(0.3) + other * np.float32(-1.7))


@pytest.mark.parametrize("case", ROWS)
def test_a_norm_alone(kernels, case):
    model = random_model(pooling="max", hidden_size=70, head=["norm"])
    steps = Steps(model, kernels, LENGTHS)
    number = steps.find(plan.Norm)
    place = steps.out(number)
    source = rows(case, len(place), 80)
    source[:, 70:] = 0
    place[:] = source
    steps.run(number)
    norm = [model.tensors[f"head.0.{part}"] for part in ("weight", "bias")]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = functions.layer_norm(source, *norm, 70, 1e-5)
    np.testing.assert_array_equal(place, expected)


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("pooling", ["cls", "none"])
def test_normalizing(kernels, pooling, case):
    steps = Steps(random_model(pooling=pooling, hidden_size=300, normalize=True), kernels, LENGTHS)
    number = steps.find(plan.Normalize)
    place = steps.out(number)
    source = rows(case, len(place), 304)
    place[:] = source
    steps.run(number)
    with np.errstate(over="ignore"):
        expected = functions.normalize(source)
    np.testing.assert_array_equal(place, expected)
    if case == "random":
        np.testing.assert_allclose(np.linalg.norm(place, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 2, 16, 77])
def test_answer_has_the_columns_that_count(kernels, columns):
    steps = Steps(random_model(head=[(columns, "none", False)]), kernels, LENGTHS)
    last = len(steps.plan.steps)
    source = rows("random", len(LENGTHS), -(-columns // 16) * 16)
    steps.out(last - 1)[:] = source
    np.testing.assert_array_equal(steps.run(last), source[:, :columns])
