from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

import minibert
from minibert import InputError, TruncationWarning, UnsupportedError, pipeline
from tests.tiny import WORDS, embedding_config, write

TEXTS = ["a great movie", "not very good", "", "hello world"]


@pytest.fixture(scope="module")
def prompted(tiny_folder):
    return minibert.load(tiny_folder / "prompted.safetensors", backend="numpy")


def test_one_sentence_gives_a_vector_and_many_a_matrix(embedder):
    one = embedder.encode("a great movie")
    assert one.shape == (40,)
    assert one.dtype == np.float32
    matrix = embedder.encode(TEXTS)
    assert matrix.shape == (4, 40)
    assert (matrix[0] == one).all()
    assert embedder.encode(["a great movie"]).shape == (1, 40)
    assert embedder.encode([]).shape == (0, 40)
    assert embedder.encode([], truncate_dim=8, precision="binary").shape == (0, 1)


def test_vectors_are_the_rows_of_forward(embedder):
    ids = [embedder.tokenizer.encode(text).ids for text in TEXTS]
    assert (embedder.encode(TEXTS) == embedder.forward(ids)).all()


def test_a_list_of_vectors(embedder):
    vectors = embedder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(vectors, list)
    assert (np.stack(vectors) == embedder.encode(TEXTS)).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_embeddings": True},
        {"truncate_dim": 12},
        {"truncate_dim": 12, "normalize_embeddings": True},
        {"precision": "binary"},
        {"precision": "ubinary", "truncate_dim": 9},
        {"prompt": "hello "},
        {"prompt_name": "query"},
        {"batch_size": 1},
    ],
)
def test_options_mean_the_same_for_one_many_and_lazily(embedder, options):
    many = embedder.encode(TEXTS, **options)
    assert (np.stack([embedder.encode(text, **options) for text in TEXTS]) == many).all()
    assert (np.stack(list(embedder.iter_encode(TEXTS, read_ahead=3, **options))) == many).all()


def test_normalized_and_shortened(embedder):
    plain = embedder.encode(TEXTS)
    assert np.linalg.norm(embedder.encode(TEXTS, normalize_embeddings=True), axis=1) == pytest.approx(1, rel=1e-6)
    assert (embedder.encode(TEXTS, truncate_dim=8) == plain[:, :8]).all()


def test_prompts_go_before_the_sentence(embedder, prompted):
    assert (embedder.encode("bad", prompt_name="query") == embedder.encode("query : bad")).all()
    assert (embedder.encode("bad", prompt="hello ") == embedder.encode("hello bad")).all()
    assert (embedder.encode(["bad"], "query") == embedder.encode(["query : bad"])).all()
    assert (embedder.encode_query("bad") == embedder.encode("query : bad")).all()
    assert (embedder.encode_document(["bad"]) == embedder.encode(["hello bad"])).all()
    assert (embedder.encode_query("bad", prompt="") == embedder.encode("bad")).all()
    # The default prompt goes before everything, unless another is named.
    assert (prompted.encode("bad") == prompted.encode("hello bad", prompt="")).all()
    assert (prompted.encode_query("bad") == prompted.encode("query : bad", prompt="")).all()
    with pytest.raises(InputError, match="no prompt called 'document'"):
        embedder.encode("bad", prompt_name="document")


def test_tokens_of_a_prompt_may_be_left_out_of_pooling(tmp_path):
    """The mean over the rows behind the prompt's tokens, of which the last special one is none."""
    config = embedding_config()
    shapes = {"pooled": {"pool_prompt": False}, "tokens": {"pooling": "none"}}
    pooled, tokens = (
        minibert.load(
            write(tmp_path / name, replace(config, architecture=replace(config.architecture, **shape))), backend="numpy"
        )
        for name, shape in shapes.items()
    )
    first = len(pooled.tokenizer.encode("query : ").ids) - 1
    for text in TEXTS:
        rows = tokens.forward([pooled.tokenizer.encode(f"query : {text}").ids])[first:]
        np.testing.assert_allclose(pooled.encode(text, prompt_name="query"), rows.mean(axis=0), rtol=0, atol=1e-6)
        assert (pooled.encode(text) == pooled.encode([text], prompt="")[0]).all()
    many = pooled.encode(TEXTS, prompt_name="query")
    assert (many == [pooled.encode(text, prompt_name="query") for text in TEXTS]).all()
    assert (many == list(pooled.iter_encode(TEXTS, prompt_name="query", read_ahead=2))).all()
    assert not (many == pooled.encode([f"query : {text}" for text in TEXTS])).any(axis=1).all()
    # Of a prompt that is cut, the last token is what it is of the text.
    with pytest.warns(TruncationWarning):
        assert (pooled.encode("bad", prompt="hello " * 40) == pooled.encode("good", prompt="hello " * 40)).all()


def test_similarity_is_the_models_own(embedder, prompted):
    a, b = embedder.encode(TEXTS[:2]), embedder.encode(TEXTS)
    scores = embedder.similarity(a, b)
    assert scores.shape == (2, 4)
    assert [scores[0, 0], scores[1, 1]] == pytest.approx([1, 1], abs=1e-6)
    assert embedder.similarity_pairwise(a, b[:2]) == pytest.approx([1, 1], abs=1e-6)
    assert prompted.similarity(a, b) == pytest.approx(a @ b.T)


def test_what_encode_refuses(embedder):
    for wrong in (None, b"bad", 7, ["bad", None]):
        with pytest.raises(InputError):
            embedder.encode(wrong)
    with pytest.raises(InputError, match="quantize_embeddings"):
        embedder.encode("bad", precision="int8")
    with pytest.raises(InputError, match="truncate_dim"):
        embedder.encode("bad", truncate_dim=0)
    with pytest.raises(InputError, match="prompt must be str"):
        embedder.encode("bad", prompt=b"x")
    with pytest.raises(UnsupportedError, match="use encode"):
        embedder.predict("bad")
    with pytest.raises(UnsupportedError, match="use encode"):
        embedder.iter_predict(["bad"])


def test_truncation_is_stated(embedder):
    with pytest.warns(TruncationWarning, match="1 of 2 texts was cut") as caught:
        embedder.encode(["bad", "very " * 50])
    assert caught[0].filename == __file__
    with pytest.raises(InputError, match="52 tokens"):
        embedder.encode("very " * 50, truncation=False)


def test_progress_stays_out_of_logs(embedder, capsys):
    embedder.encode(TEXTS, show_progress_bar=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [1, 2])
def test_windows_are_read_ahead(embedder_path, monkeypatch, threads):
    """The library makes tokens while the engine runs; the caller's iterator is asked by the caller's thread alone."""
    monkeypatch.setattr(pipeline, "READ_AHEAD", 8)
    model = minibert.load(embedder_path, threads=threads, backend="jit")
    words = WORDS.split()
    texts = [" ".join(words[number % 5 : number % 7 + 6]) for number in range(45)]
    expected = np.stack([model.encode(text) for text in texts])
    makers, askers = set(), set()
    encode = model.tokenizer.encode_many
    assert model.tokenizer.source == "library"

    def watched(*arguments, **options):
        makers.add(threading.get_ident())
        return encode(*arguments, **options)

    monkeypatch.setattr(model.tokenizer, "encode_many", watched)

    def asked():
        for text in texts:
            askers.add(threading.get_ident())
            yield text

    np.testing.assert_array_equal(model.encode(asked()), expected)
    assert askers == {threading.get_ident()}
    assert (makers == askers) == (threads == 1)
