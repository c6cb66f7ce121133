"""A text's answer has the same bits alone, in any batch, in any order and on any number of threads."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from minibert.engine import Engine
from minibert.errors import InputError
from tests.combinations import in_pairs
from tests.models import RandomModel, random_model

#: Texts: enough for batches of each size and chunks of several; and many more.
counts = pytest.mark.parametrize("count", [80, pytest.param(500, marks=pytest.mark.slow)])


def check(engines: list[Engine], ids: list[list[int]], types: list[list[int]] | None = None) -> None:
    """All engines give every text, in every batch, the bits that the first one gives it alone."""
    types = types or [[0] * len(text) for text in ids]
    alone = np.concatenate([engines[0].forward([i], [t]) for i, t in zip(ids, types, strict=True)])
    assert len({row.tobytes() for row in alone}) > 0.9 * len({tuple(text) for text in ids})
    order = np.random.default_rng(1).permutation(len(ids))
    for engine in engines:
        for size in (2, 7, 64, len(ids)) if engine is engines[0] else (1, 2, 7, 64):
            batches = [range(first, min(first + size, len(ids))) for first in range(0, len(ids), size)]
            if engine is not engines[0]:
                batches = batches[: len(ids) // 6]  # with less to do, threads spend their time waiting for each other
            answers = [engine.forward([ids[i] for i in b], [types[i] for i in b]) for b in batches]
            expected = alone[: batches[-1].stop]
            assert np.concatenate(answers).tobytes() == expected.tobytes(), (engine.threads, size)
        for size in (7, 64):
            for first in range(0, len(order), size):
                part = order[first : first + size]
                answers = engine.forward([ids[i] for i in part], [types[i] for i in part])
                assert answers.tobytes() == alone[part].tobytes(), (engine.threads, size, "shuffled")


def ragged(model: RandomModel, most: int, count: int = 120) -> tuple[list[list[int]], list[list[int]]]:
    """As real short texts are, with a few long ones among them."""
    drawn = np.random.default_rng(2).lognormal(np.log(12), 0.7, count)
    lengths = np.clip(np.rint(drawn), 1, most).astype(int)
    lengths[::50] = most
    return model.texts(lengths.tolist(), seed=3)


@counts
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_random_model(isa, kind, count):
    model = random_model(kind, hidden_size=64, head_size=32, heads=2, ffn_size=100, pooling="mean", max_positions=200)
    check([model.engine(threads=threads) for threads in (1, 2, 3)], *ragged(model, 200, count))


@counts
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_what_stands_behind_the_encoder(isa, kind, count):
    head = ["norm", (20, "tanh", False), "normalize", (33, "relu", False), "gelu"]
    shape = {"pooling": "mean+weighted_mean+cls", "layer_weights": [0.5, 1.0, -2.0], "pool_after": 3, "head": head}
    model = random_model(kind, hidden_size=56, max_positions=200, pool_prompt=False, **shape)
    ids, types = ragged(model, 200, count)
    engines = [model.engine(threads=threads) for threads in (1, 2, 3)]
    check(engines, ids, types)
    # What is pooled is decided text by text, too; and NumPy has the same bits.
    wanted = [list(range(min(number % 5, len(text) - 1), len(text))) for number, text in enumerate(ids)]
    alone = [engines[0].forward([i], [t], [w]) for i, t, w in zip(ids, types, wanted, strict=True)]
    for engine in engines:
        np.testing.assert_array_equal(engine.forward(ids, types, wanted), np.concatenate(alone))
    if kind == "int8":
        np.testing.assert_array_equal(model.engine(backend="numpy").forward(ids, types, wanted), np.concatenate(alone))
    with pytest.raises(InputError, match="text 1 of the batch has no token that is wanted"):
        engines[0].forward(ids[:2], types[:2], [[0], []])


@cache
def leaving(kind: str, pooling: str) -> RandomModel:
    """A model from which tokens and texts leave in many layers."""
    return random_model(
        kind,
        hidden_size=64,
        head_size=20,
        heads=3,
        layers=5,
        pooling=pooling,
        max_positions=200,
        head=[(7, "none", False)],
        keep_tokens=[0.8, 1.0, 0.5, 0.3],
        exits=[(0, 0.4), (1, 0.45), (3, 0.4)],
    )


@cache
def leaving_in_numpy(kind: str, pooling: str, count: int) -> np.ndarray:
    """What the NumPy engine answers; most texts would have another answer if all of their tokens stayed."""
    model = leaving(kind, pooling)
    texts = ragged(model, 200, count)
    answers = model.engine(backend="numpy").forward(*texts)
    everything = model.reference(every_token=True).forward(*texts)
    assert (np.abs(answers - everything).max(axis=1) > 1e-3).mean() > 0.9
    return answers


@counts
@in_pairs(isa=(), kind=["int8", "float32"], pooling=["cls", "mean"])
def test_where_tokens_and_texts_leave_early(isa, kind, pooling, count):
    """Who stays is decided by each text alone; and what NumPy decides, the kernels do."""
    model = leaving(kind, pooling)
    ids, types = ragged(model, 200, count)
    check([model.engine(threads=threads) for threads in (1, 2, 3)], ids, types)
    answers = model.engine().forward(ids, types)
    numpy = leaving_in_numpy(kind, pooling, count)
    if kind == "int8":
        np.testing.assert_array_equal(answers, numpy)
    else:  # a text on the edge may leave in one and stay in the other
        same = np.isclose(answers, numpy, atol=1e-4).all(axis=1)
        assert same.mean() > 0.98


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_rows_of_some_tokens(isa, kind):
    """The rows that are wanted have the bits that they have among all."""
    model = random_model(kind, hidden_size=64, layers=2, pooling="none", max_positions=200, head=[(33, "gelu", True)])
    ids, types = ragged(model, 200)
    random = np.random.default_rng(0)
    wanted = [np.flatnonzero(random.random(len(text)) < 0.2).tolist() for text in ids]
    wanted[7:60] = [[] for _ in range(53)]  # a span without any
    starts = np.cumsum([0, *map(len, ids)])
    places = np.concatenate([start + np.array(each, int) for start, each in zip(starts, wanted, strict=False)])
    for engine in [model.engine(threads=threads) for threads in (1, 2, 3)]:
        everything = engine.forward(ids, types)
        np.testing.assert_array_equal(engine.forward(ids, types, wanted), everything[places])
        one = engine.forward(ids[:1], types[:1], [[0]])
        np.testing.assert_array_equal(one, everything[:1])
        assert engine.forward(ids[:1], types[:1], [[]]).shape == (0, 33)
    everything = model.engine(backend="numpy").forward(ids, types)
    some = model.engine(backend="numpy").forward(ids, types, wanted)
    np.testing.assert_allclose(some, everything[places], atol=0 if kind == "int8" else 1e-5)


@pytest.mark.parametrize("wanted", [[[0], [0]], [[-1]], [[3]], [[1, 1]], [[2, 0]]], ids=str)
def test_places_that_a_text_has_not(wanted):
    model = random_model(pooling="none")
    with pytest.raises(InputError, match="wanted"):
        model.engine(backend="numpy").forward([[1, 2, 3]], None, wanted)
    with pytest.raises(InputError, match="without pooling"):
        random_model(pooling="cls").engine(backend="numpy").forward([[1, 2, 3]], None, [[0]])


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_numpy_backend(kind):
    """NumPy adds integers exactly; its BLAS, however, may add float32 in another order in another batch."""
    model = random_model(kind, pooling="mean", layers=1)
    ids, types = (rows[:100] for rows in ragged(model, 64))
    engine = model.engine(backend="numpy")
    alone = np.concatenate([engine.forward([i], [t]) for i, t in zip(ids, types, strict=True)])
    together = engine.forward(ids, types)
    if kind == "int8":
        assert together.tobytes() == alone.tobytes()
    else:
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@counts
def test_real_model(jit, shared, count):
    """MiniLM with plain int8 weights, on real texts."""
    pytest.importorskip("minibert_converter")
    model, texts = _minilm(shared), _texts(shared, count)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(shared / "models" / "sst2-minilm" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    assert len(ids) == count
    check([model.engine(threads=threads) for threads in (1, 2)], ids)


def _texts(shared, count: int) -> list[str]:
    with gzip.open(shared / "data" / "banking77" / "test.tsv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [max(row, key=len) for row in rows[1 : count + 1]]


def _minilm(shared) -> RandomModel:
    from minibert_converter.checkpoints import read_checkpoint
    from minibert_converter.export import export
    from minibert_converter.network import QuantizedLinear

    network = read_checkpoint(shared / "models" / "sst2-minilm")
    for name, linear in network.linears.items():
        scale = np.maximum(np.abs(linear.weight).max(axis=1), np.float32(1e-9)) / np.float32(127)
        codes = np.rint(linear.weight / scale[:, None]).astype(np.int8)
        network.linears[name] = QuantizedLinear(codes, scale, linear.bias)
    config, tensors = export(network)
    return RandomModel(replace(config), tensors)
