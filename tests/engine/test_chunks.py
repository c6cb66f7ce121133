"""How a batch is cut: memory is bounded, threads have equal work, and answers know nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.engine import chunks
from minibert.engine.chunks import CHUNK_TOKENS, MANY_TOKENS, chunk_tokens, cut, cut_evenly
from minibert.format.parts import Linear
from tests.models import random_model


def starts_of(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("budget", [CHUNK_TOKENS, MANY_TOKENS])
def test_every_text_is_in_one_span_within_the_budget(workers, budget):
    for seed in range(20):
        lengths = np.random.default_rng(seed).integers(1, 200, 1 + 9 * seed)
        starts = starts_of(lengths.tolist())
        spans = cut_evenly(starts, budget, workers)
        assert spans[0, 0] == 0
        assert spans[-1, 1] == len(lengths)
        np.testing.assert_array_equal(spans[1:, 0], spans[:-1, 1])
        tokens = starts[spans[:, 1]] - starts[spans[:, 0]]
        assert np.all((tokens <= budget) | (spans[:, 1] - spans[:, 0] == 1))


@pytest.mark.parametrize(("texts", "expected"), [(4, [2, 2]), (5, [3, 2]), (6, [3, 3]), (16, [4, 4, 4, 4])])
def test_two_workers_get_equal_work(texts, expected):
    spans = cut_evenly(starts_of([128] * texts), MANY_TOKENS, 2)
    assert [end - first for first, end in spans.tolist()] == expected


def test_short_spans_are_not_made_shorter():
    starts = starts_of([20] * 40)
    np.testing.assert_array_equal(cut_evenly(starts, CHUNK_TOKENS, 3), cut(starts, CHUNK_TOKENS))


def test_models_with_large_layers_take_more_tokens_at_once():
    def layers(hidden: int, inner: int) -> dict[str, Linear]:
        shapes = {"layers.0.attention.qkv": (hidden, 3 * hidden), "layers.0.ffn.up": (hidden, inner)}
        shapes |= {"layers.0.ffn.down": (inner, hidden), "head.decoder": (hidden, 30_000)}
        return {name: Linear("int8", *shape) for name, shape in shapes.items()}

    assert chunk_tokens(layers(384, 1536)) == CHUNK_TOKENS
    assert chunk_tokens(layers(768, 3072)) == MANY_TOKENS


def test_answers_do_not_depend_on_it(isa, monkeypatch):
    model = random_model("int8", hidden_size=64, head_size=32, heads=2, pooling="mean", max_positions=100)
    texts = model.texts(np.random.default_rng(0).integers(1, 100, 40).tolist())
    expected = model.engine(threads=1).forward(*texts)
    monkeypatch.setattr(chunks, "LARGE_LAYER", 0)
    for threads in (1, 2):
        engine = model.engine(threads=threads)
        assert engine.forward(*texts).tobytes() == expected.tobytes()
        assert engine._executor is not None
        assert engine._executor.chunk_tokens == MANY_TOKENS
