"""Vectors of texts that are too long, as averages of windows."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

import minibert
from minibert import InputError, UnsupportedError, pipeline, quantize_embeddings
from minibert.format import HeadLayer, TextConfig
from minibert.tasks.vectors import normalized
from tests.tiny import VOCABULARY, WORDS, embedding_config, write

#: Each is one token; so a window has room for as many as it has tokens, but for [CLS] and [SEP].
WORD = [word for word in WORDS.split() if word not in ":-"]
ROOM = 22
LONG = " ".join(WORD[place * 7 % len(WORD)] for place in range(3 * ROOM + 5))
LONGER = " ".join(WORD[place * 5 % len(WORD)] for place in range(6 * ROOM))
TEXTS = ["a great movie", LONG, "", LONGER, "not very good", "very " * (ROOM + 1)]


@pytest.fixture(autouse=True)
def _nothing_is_cut():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def loaded(folder, backend="numpy", *, text=None, threads=1, **shape):
    """A tiny model of another shape."""
    config = embedding_config()
    config = replace(config, architecture=replace(config.architecture, **shape), text=text or config.text)
    if not config.architecture.layers:
        tables = {"embeddings.word": config.tables["embeddings.word"]}
        config = replace(config, linears={}, tables=tables)
    return minibert.load(write(folder / "model.safetensors", config), backend=backend, threads=threads)


def cut_by_hand(text, room=ROOM):
    words = text.split()
    return [words[start : start + room] for start in range(0, len(words), room)]


def by_hand(model, text, room=ROOM, **options):
    """The mean of what `encode` says of each window by itself, by the number of its words."""
    parts = cut_by_hand(text, room)
    rows = np.stack([model.encode(" ".join(part), **options) for part in parts])
    return np.average(rows.astype(np.float64), axis=0, weights=[len(part) for part in parts]).astype(np.float32)


def test_the_vector_of_a_long_text_is_the_average_of_its_windows(embedder):
    for text in (LONG, LONGER, TEXTS[-1]):
        found = embedder.encode(text, windows=True)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, by_hand(embedder, text), rtol=0, atol=1e-6)
        content = embedder.tokenizer.content(text).ids
        parts = [content[start : start + ROOM] for start in range(0, len(content), ROOM)]
        rows = embedder.forward([[2, *part, 3] for part in parts])
        expected = np.average(rows, axis=0, weights=[len(part) for part in parts])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_texts_that_fit_are_answered_as_without(embedder):
    fitting = [*TEXTS[::2], " ".join(WORD[:ROOM])]
    assert (embedder.encode(fitting, windows=True) == embedder.encode(fitting)).all()
    for text in fitting:
        assert (embedder.encode(text, windows=True) == embedder.encode(text)).all()
    # Also beside others that don't.
    assert (embedder.encode(TEXTS, windows=True)[[0, 2, 4]] == embedder.encode(TEXTS[::2])).all()
    assert embedder.encode([], windows=True).shape == (0, 40)


def test_what_stands_behind_the_limit_matters(embedder):
    with pytest.warns(minibert.TruncationWarning):
        assert (embedder.encode(f"{LONG} bad") == embedder.encode(f"{LONG} good")).all()
    bad, good = embedder.encode([f"{LONG} bad", f"{LONG} good"], windows=True)
    assert not (bad == good).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_embeddings": True},
        {"truncate_dim": 12, "normalize_embeddings": True},
        {"precision": "ubinary", "truncate_dim": 9},
        {"prompt_name": "query"},
        {"max_length": 9},
        {"batch_size": 1},
        {"max_tokens": 30},
        {"truncation": False},
    ],
)
def test_options_mean_the_same_for_one_many_and_lazily(embedder, options):
    many = embedder.encode(TEXTS, windows=True, **options)
    assert (np.stack([embedder.encode(text, windows=True, **options) for text in TEXTS]) == many).all()
    for ahead in (1, 4):
        assert (list(embedder.iter_encode(TEXTS, read_ahead=ahead, windows=True, **options)) == many).all()
    listed = embedder.encode(TEXTS, windows=True, convert_to_numpy=False, **options)
    assert isinstance(listed, list)
    assert (listed == many).all()


def test_other_options_apply_to_the_average(embedder):
    plain = embedder.encode(TEXTS, windows=True)
    found = embedder.encode(TEXTS, windows=True, truncate_dim=8, normalize_embeddings=True)
    assert (found == normalized(np.ascontiguousarray(plain[:, :8]))).all()
    found = embedder.encode(TEXTS, windows=True, precision="binary")
    assert (found == quantize_embeddings(plain, "binary")).all()
    for length in (5, 10):
        found = embedder.encode(LONG, windows=True, max_length=length)
        np.testing.assert_allclose(found, by_hand(embedder, LONG, length - 2), rtol=0, atol=1e-6)


def test_prompts_stand_before_every_window(embedder):
    found = embedder.encode(LONG, "query", windows=True)
    np.testing.assert_allclose(found, by_hand(embedder, LONG, ROOM - 2, prompt="query : "), rtol=0, atol=1e-6)
    assert (embedder.encode_query(LONG, windows=True) == found).all()
    assert (list(embedder.iter_encode_query([LONG], windows=True)) == found[None]).all()
    assert (embedder.encode_document([LONG], windows=True) == embedder.encode([LONG], "passage", windows=True)).all()
    # A text that fits without its prompt, and doesn't with it.
    text = " ".join(WORD[:ROOM])
    expected = by_hand(embedder, text, ROOM - 2, prompt="query : ")
    np.testing.assert_allclose(embedder.encode(text, "query", windows=True), expected, rtol=0, atol=1e-6)


def test_prompts_that_are_not_pooled(tmp_path):
    model = loaded(tmp_path, pool_prompt=False)
    for prompt, tokens in (("query : ", 2), ("hello ", 1)):
        found = model.encode(TEXTS, prompt=prompt, windows=True)
        assert (found[0] == model.encode(TEXTS[0], prompt=prompt)).all()
        np.testing.assert_allclose(found[1], by_hand(model, LONG, ROOM - tokens, prompt=prompt), rtol=0, atol=1e-6)
        assert (found == [model.encode(text, prompt=prompt, windows=True) for text in TEXTS]).all()


@pytest.mark.parametrize("pooling", ["cls", "max", "last", "mean+max"])
def test_other_poolings(tmp_path, pooling):
    model = loaded(tmp_path, pooling=pooling)
    np.testing.assert_allclose(model.encode(LONG, windows=True), by_hand(model, LONG), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "shape",
    [{"normalize": True}, {"head": (HeadLayer("head.last", kind="normalize"),)}],
    ids=["normalize", "head"],
)
def test_models_that_normalize_give_vectors_of_length_1(tmp_path, shape):
    model = loaded(tmp_path, **shape)
    found = model.encode(TEXTS, windows=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    expected = normalized(by_hand(model, LONG)[None])[0]
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=1e-6)


def test_an_average_is_not_normalized_where_pooling_comes_last(tmp_path):
    model = loaded(tmp_path, head=(HeadLayer("head.first", kind="normalize"),), pool_after=1)
    np.testing.assert_allclose(model.encode(LONG, windows=True), by_hand(model, LONG), rtol=0, atol=1e-6)


def test_models_without_layers_leave_out_what_they_do_not_know(tmp_path):
    text = TextConfig(24, characters_per_token=6, ignored_id=1, empty_id=0)
    model = loaded(tmp_path, text=text, layers=(), model_type="static", position_table=False, token_types=0)
    known = LONG.replace(" ", " 電 ")
    assert VOCABULARY.index("[UNK]") in model.tokenizer.content(known).ids
    np.testing.assert_allclose(model.encode(known, windows=True), by_hand(model, LONG), rtol=0, atol=1e-6)
    # Far more characters than are read of a text.
    assert (model.encode("電 " * 100 + "good", windows=True) == model.encode("good")).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_in_kernels_batches_and_threads(embedder_path, embedder, threads, monkeypatch):
    monkeypatch.setattr(pipeline, "READ_AHEAD", 4)
    expected = np.stack([embedder.encode(text, windows=True) for text in TEXTS])
    model = minibert.load(embedder_path, threads=threads, backend="jit")
    texts = TEXTS * 3
    found: list[np.ndarray | None] = [None] * 4

    def work(number):
        found[number] = model.encode(texts, windows=True, batch_size=number + 1)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(found))]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    for rows in found:
        np.testing.assert_array_equal(rows, np.tile(expected, (3, 1)))
    np.testing.assert_array_equal(list(model.iter_encode(iter(texts), windows=True)), np.tile(expected, (3, 1)))


def test_no_more_windows_are_ahead_than_a_few(embedder, monkeypatch):
    """Of a long text only so many windows are in memory at once, and so are its tokens."""
    text = f"{LONG} " * 3000
    assert len(text) > 1 << 19
    passes = []
    packed = pipeline.Pipeline._packed

    def watched(self, read, wanted, limits):
        passes.append(len(read))
        # The rows that a model would make are of no matter here.
        if len(passes) < 3:
            return packed(self, read, wanted, limits)
        return np.zeros((len(read), 40), np.float32)

    monkeypatch.setattr(pipeline.Pipeline, "_packed", watched)
    embedder.encode(text, windows=True)
    assert max(passes) == pipeline.READ_AHEAD
    assert sum(passes) == -(-3000 * len(LONG.split()) // ROOM)
    passes.clear()
    monkeypatch.setattr(pipeline, "MAX_AHEAD", 240)
    embedder.encode(f"{LONG} " * 30, windows=True)
    assert max(passes) == 10


def test_a_text_without_tokens_beyond_what_is_read(embedder):
    blank = " " * ((1 << 20) + 1)
    np.testing.assert_allclose(embedder.encode(blank, windows=True), embedder.encode(""), rtol=0, atol=1e-6)
    found = embedder.encode([blank], prompt="hello ", windows=True)
    np.testing.assert_allclose(found[0], embedder.encode("hello"), rtol=0, atol=1e-6)


def test_what_is_refused(embedder, colbert, filler):
    for wrong in (None, 1, "yes"):
        with pytest.raises(InputError, match="windows must be True or False"):
            embedder.encode("bad", windows=wrong)
    for pair in ({"text": "a", "text_pair": "b"}, {"text": LONG, "text_pair": LONG}):
        with pytest.raises(InputError, match="the text is a pair, but encode with windows reads single texts"):
            embedder.encode(pair, windows=True)
    with pytest.raises(InputError, match="text 1 is a pair, but encode with windows"):
        embedder.encode(["a", ("a", "b")], windows=True)
    assert embedder.encode({"text": LONG}, windows=True).shape == (40,)
    lazily = embedder.iter_encode(["bad", ("a", "b")], windows=True)
    assert (next(lazily) == embedder.encode("bad")).all()
    with pytest.raises(InputError, match="text 1 is a pair"):
        next(lazily)
    with pytest.raises(InputError, match="no room beside the special tokens and the 22 tokens of the prompt"):
        embedder.encode(LONG, prompt="very " * ROOM, windows=True)
    for method in (colbert.encode_query, colbert.encode_document, colbert.iter_encode_query):
        with pytest.raises(UnsupportedError, match="windows are for models of one vector a text"):
            method(["bad"], windows=True)
    assert (colbert.encode_query("bad", windows=False) == colbert.encode_query("bad")).all()
    with pytest.raises(UnsupportedError, match="use encode_query"):
        colbert.encode("bad", windows=True)
    with pytest.raises(InputError, match="no option 'windows'"):
        filler.encode_sparse("bad", windows=True)
