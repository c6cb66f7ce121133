"""Fused attention against its NumPy twin, and both against the textbook."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from minibert import numerics, plan
from minibert.reference.attention import RelativeTables, attend
from minibert.reference.functions import softmax_weights
from tests.kernels.inputs import ROWS, rows
from tests.kernels.steps import Steps, padding_of_heads
from tests.models import random_model

#: Texts in one batch, with lengths around the edges of tiles and of blocks of keys.
LENGTHS = [*range(1, 36), 47, 48, 49, 63, 64, 65, 70, 127, 128, 129, 255, 256, 257, 300, 512]
SHAPES = [(3, 12), (12, 26), (1, 64), (2, 1), (1, 80), (5, 32), (1, 256)]


def run(
    kernels, kind: str, heads: int, head_size: int, lengths: list[int], source: np.ndarray, **options
) -> np.ndarray:
    model = random_model(kind, heads=heads, head_size=head_size, layers=2, max_positions=512, **options)
    steps = Steps(model, kernels, lengths)
    number = steps.find(plan.Attend)
    steps.source(number)[:] = source
    steps.run(number)
    return steps.out(number)


def expected(make, heads: int, lengths: list[int], source: np.ndarray) -> np.ndarray:
    """`make(query, key, value)` for each head of each text."""
    texts = np.split(source, np.cumsum(lengths)[:-1])
    parts = [text.reshape(len(text), 3, heads, -1) for text in texts]
    return np.concatenate(
        [np.concatenate([make(*(p[:, i, head] for i in range(3))) for head in range(heads)], axis=1) for p in parts]
    )


def source_rows(case: str, tokens: int, heads: int, head_size: int) -> np.ndarray:
    """Queries, keys and values of all heads, zero in their padding."""
    padding = padding_of_heads(head_size, 3 * heads)
    x = rows(case, tokens, len(padding))
    x[:, padding] = 0
    return x


def textbook(query: np.ndarray, key: np.ndarray, value: np.ndarray, head_size: int) -> np.ndarray:
    """Softmax attention in float64."""
    query, key, value = (x.astype(np.float64) for x in (query, key, value))
    scores = query @ key.T / np.sqrt(head_size)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ value / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("heads", "head_size"), SHAPES)
def test_integer_attention(kernels, heads, head_size):
    lengths = LENGTHS if heads * head_size < 100 else LENGTHS[::4]
    source = source_rows("random", sum(lengths), heads, head_size) * np.float32(2)
    made = run(kernels, "int8", heads, head_size, lengths, source)
    twin = partial(attend, head_size=head_size, exact=False)
    np.testing.assert_array_equal(made, expected(twin, heads, lengths, source))
    assert not made[:, padding_of_heads(head_size, heads)].any()


@pytest.mark.parametrize("case", ROWS)
def test_integer_attention_of_odd_rows(kernels, case):
    lengths = [1, 2, 17, 130]
    source = source_rows(case, sum(lengths), 2, 26)
    made = run(kernels, "int8", 2, 26, lengths, source)
    with np.errstate(all="ignore"):
        twin = expected(partial(attend, head_size=26, exact=False), 2, lengths, source)
    # Scores beyond 2**24, of 1e60 even, have no answer: float32 cannot tell them apart. But they do no harm.
    if case in ("huge", "mixed sizes"):
        assert made.shape == twin.shape
    else:
        np.testing.assert_array_equal(made, twin)
        assert np.isfinite(made).all()


@pytest.mark.parametrize("exponent", [2, 6, 11])
def test_integer_attention_of_rows_of_many_sizes(kernels, exponent):
    """Scores from next to nothing to 2**20: softmax weights that are all alike, or one among zeros."""
    lengths = [1, 2, 17, 130]
    sizes = np.exp2(np.random.default_rng(0).uniform(-exponent, exponent, (150, 1))).astype(np.float32)
    source = source_rows("random", 150, 2, 26) * sizes
    made = run(kernels, "int8", 2, 26, lengths, source)
    twin = expected(partial(attend, head_size=26, exact=False), 2, lengths, source)
    np.testing.assert_array_equal(made, twin)


@pytest.mark.parametrize("tokens", [127, 128, 129, 256, 512])
def test_the_largest_integer_sums_are_exact(kernels, tokens):
    """All weights and all values of a block of keys at their limits: the sum comes near 2**31."""
    source = np.full((tokens, 48), np.float32(3))
    source[:, 33::2] = -3
    made = run(kernels, "int8", 1, 16, [tokens], source)
    np.testing.assert_allclose(made, source[:, 32:], rtol=3e-7)
    twin = expected(partial(attend, head_size=16, exact=False), 1, [tokens], source)
    np.testing.assert_array_equal(made, twin)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_a_text_with_numbers_that_are_not_finite_harms_no_other(kernels, kind, value):
    lengths = [5, 20, 5]
    source = source_rows("random", 30, 2, 26)
    clean = run(kernels, kind, 2, 26, lengths, source)
    source[7:9] = value
    made = run(kernels, kind, 2, 26, lengths, source)
    np.testing.assert_array_equal(made[:5], clean[:5])
    np.testing.assert_array_equal(made[25:], clean[25:])


@pytest.mark.parametrize(("heads", "head_size"), SHAPES)
def test_float32_attention(kernels, heads, head_size):
    lengths = LENGTHS if heads * head_size < 100 else LENGTHS[::4]
    source = source_rows("random", sum(lengths), heads, head_size)
    made = run(kernels, "float32", heads, head_size, lengths, source)
    for make in (partial(textbook, head_size=head_size), partial(attend, head_size=head_size, exact=True)):
        np.testing.assert_allclose(made, expected(make, heads, lengths, source), rtol=0, atol=3e-6)
    assert not made[:, padding_of_heads(head_size, heads)].any()


def test_integer_attention_is_near_the_textbook(kernels):
    lengths = [1, 9, 64, 512]
    source = source_rows("random", sum(lengths), 3, 32)
    made = run(kernels, "int8", 3, 32, lengths, source)
    exact = expected(partial(textbook, head_size=32), 3, lengths, source)
    cosine = (made * exact).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.9995
    np.testing.assert_allclose(made, exact, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_a_text_has_the_same_bits_wherever_it_stands(kernels, kind):
    text = source_rows("random", 33, 2, 26)
    alone = run(kernels, kind, 2, 26, [33], text)
    others = source_rows("mixed sizes", 40, 2, 26)
    together = run(kernels, kind, 2, 26, [3, 33, 37], np.concatenate([others[:3], text, others[3:]]))
    np.testing.assert_array_equal(together[3:36], alone)


def biases(heads: int) -> np.ndarray:
    """What `random_model` draws: float32 [heads, distances]."""
    return random_model(heads=heads, layers=1, max_positions=512, position_bias=True).tensors[
        "layers.0.attention.position_bias"
    ]


def far(query: np.ndarray, window: int) -> np.ndarray:
    place = np.arange(len(query))
    return np.abs(place[:, None] - place) > window


@pytest.mark.parametrize("window", [1, 15, 16, 17, 40, 64, 127, 300, 511])
def test_windows(kernels, window):
    """Int8: NumPy's bits; float32: the textbook's numbers."""
    lengths = [*range(1, 36, 3), 63, 64, 65, 127, 129, 257, 512]
    source = source_rows("random", sum(lengths), 2, 26) * np.float32(2)
    made = run(kernels, "int8", 2, 26, lengths, source, windows=[window])
    twin = partial(attend, head_size=26, exact=False, window=window)
    np.testing.assert_array_equal(made, expected(twin, 2, lengths, source))

    def exact(query, key, value):
        scores = query.astype(np.float64) @ key.T / np.sqrt(26)
        weights = np.exp(np.where(far(query, window), -np.inf, scores))
        return weights @ value / weights.sum(axis=1, keepdims=True)

    made = run(kernels, "float32", 2, 26, lengths, source, windows=[window])
    np.testing.assert_allclose(made, expected(exact, 2, lengths, source), rtol=0, atol=3e-5)


def test_position_biases(kernels):
    lengths = [*range(1, 36, 3), 63, 64, 65, 127, 129, 257, 512]
    source = source_rows("random", sum(lengths), 3, 26)
    tables = iter(np.tile(biases(3), (2 * len(lengths), 1)))
    made = run(kernels, "int8", 3, 26, lengths, source, position_bias=True)

    def twin(query, key, value):
        return attend(query, key, value, 26, exact=False, bias=next(tables))

    np.testing.assert_array_equal(made, expected(twin, 3, lengths, source))
    made = run(kernels, "float32", 3, 26, lengths, source, position_bias=True)

    def exact(query, key, value):
        table, place = next(tables), np.arange(len(query))
        bias = table[place[:, None] - place + len(table) // 2 - 8].astype(np.float64) * np.log(2)
        weights = np.exp(query.astype(np.float64) @ key.T / np.sqrt(26) + bias)
        return weights @ value / weights.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(made, expected(exact, 3, lengths, source), rtol=0, atol=1e-5)


def relative_tables(kind: str) -> list[RelativeTables]:
    """What `random_model` draws for the two heads of the first layer."""
    model = random_model(
        kind, heads=2, head_size=26, layers=2, max_positions=512, relative_rows=90, position_table=False
    )
    names = ("layers.0.attention.position_key", "layers.0.attention.position_query")
    ones = np.ones((90, 2), np.float32)
    parts = [model.tensors[f"{name}.weight"] for name in names]
    scales = [model.tensors.get(f"{name}.scale", ones) for name in names]
    rows = model.tensors["embeddings.distance_rows"]
    return [
        RelativeTables(rows, parts[0][:, head], scales[0][:, head], parts[1][:, head], scales[1][:, head])
        for head in range(2)
    ]


def test_scores_by_relative_position(kernels):
    """Int8: NumPy's bits; float32: DeBERTa's three terms, one after another."""
    lengths = [*range(1, 36, 3), 63, 64, 65, 127, 129, 257, 512]
    source = source_rows("random", sum(lengths), 2, 26)
    options = {"relative_rows": 90, "position_table": False}
    tables = iter(relative_tables("int8") * len(lengths))
    made = run(kernels, "int8", 2, 26, lengths, source, **options)

    def twin(query, key, value):
        return attend(query, key, value, 26, exact=False, relative=next(tables))

    np.testing.assert_array_equal(made, expected(twin, 2, lengths, source))
    tables = iter(relative_tables("float32") * len(lengths))
    made = run(kernels, "float32", 2, 26, lengths, source, **options)

    def exact(query, key, value):
        head, place = next(tables), np.arange(len(query))
        row = head.rows[place[:, None] - place + 511]
        scores = query.astype(np.float64) @ key.T
        scores += np.take_along_axis(query @ head.keys.T, row, axis=1)
        scores += np.take_along_axis(key @ head.queries.T, row.T, axis=1).T
        weights = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.sqrt(3 * 26))
        return weights @ value / weights.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(made, expected(exact, 2, lengths, source), rtol=0, atol=1e-5)


def test_work_within_a_window_does_not_grow_with_the_text(kernels):
    """A text of 512 tokens whose far keys are not numbers: they are never read."""
    source = source_rows("random", 512, 2, 26)
    clean = run(kernels, "float32", 2, 26, [512], source, windows=[20])
    source[300:] = np.nan
    made = run(kernels, "float32", 2, 26, [512], source, windows=[20])
    np.testing.assert_array_equal(made[:128], clean[:128])


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_only_the_first_token_asks(kernels, kind):
    """What "cls" pooling reads of the last layer has the bits that it has among all tokens' rows."""
    lengths = [1, 2, 17, 64, 129, 300]
    model = random_model(kind, heads=3, head_size=12, layers=1, max_positions=512)
    steps = Steps(model, kernels, lengths)
    number = steps.find(plan.Attend)
    source = source_rows("random", sum(lengths), 3, 12)
    steps.source(number)[:] = source
    steps.run(number)
    whole = run(kernels, kind, 3, 12, lengths, source)
    np.testing.assert_array_equal(steps.out(number), whole[steps.starts[:-1]])


def test_softmax_weights_halve_with_the_distance():
    distance = np.arange(numerics.DISTANCE_LIMIT + 1)
    exact = numerics.WEIGHT_LIMIT * 0.5 ** (distance / numerics.DISTANCE_STEPS)
    weights = softmax_weights(distance)
    assert np.all(np.abs(weights - exact) <= 0.5 + 2.0e-4 * exact)
    assert weights[0] == numerics.WEIGHT_LIMIT
    assert weights[-1] == 0
    assert np.all(np.diff(weights) <= 0)
