from __future__ import annotations

import numpy as np
import pytest

from minibert import InputError, quantize_embeddings
from minibert.format.schema import Task
from minibert.tasks import vectors as embed
from minibert.tasks.token_vectors import maxsim, maxsim_pairwise

TASK = Task("sentence-embedding", prompts={"query": "query: ", "corpus": "doc: "}, default_prompt="corpus")


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((7, 20)).astype(np.float32)


def test_which_prompt():
    assert embed.resolve_prompt(TASK, None, None) == "doc: "
    assert embed.resolve_prompt(TASK, "query", None) == "query: "
    assert embed.resolve_prompt(TASK, None, "mine: ") == "mine: "
    with pytest.raises(InputError, match="either prompt or prompt_name"):
        embed.resolve_prompt(TASK, "query", "mine: ")
    assert embed.resolve_prompt(TASK, None, "") == ""
    assert embed.resolve_prompt(Task("sentence-embedding"), None, None) == ""
    assert embed.first_prompt(TASK, embed.DOCUMENT_PROMPTS) == "corpus"
    with pytest.raises(InputError, match="no prompt called 'passage'; it has: 'query', 'corpus'"):
        embed.resolve_prompt(TASK, "passage", None)


def test_vectors_are_shortened_before_they_are_normalized(vectors):
    rows = embed.finish(vectors, truncate_dim=5, normalize=True, precision="float32")
    assert rows.shape == (7, 5)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, rel=1e-6)


def test_a_row_of_zeros_stays():
    assert not embed.normalized(np.zeros((1, 4), np.float32)).any()


def test_normalizing_does_not_depend_on_the_batch(vectors):
    together = embed.normalized(vectors)
    assert all((embed.normalized(row[None])[0] == whole).all() for row, whole in zip(vectors, together, strict=True))


def test_binary_is_one_bit_a_number(vectors):
    bits = quantize_embeddings(vectors, "ubinary")
    assert bits.shape == (7, 3)
    assert (np.unpackbits(bits, axis=1)[:, :20] == (vectors > 0)).all()
    signed = quantize_embeddings(vectors, "binary")
    assert signed.dtype == np.int8
    assert (signed.astype(int) == bits.astype(int) - 128).all()


def test_int8_needs_ranges_and_keeps_them(vectors):
    levels = quantize_embeddings(vectors, "uint8")
    assert (levels.min(axis=0) == 0).all()
    assert (levels.max(axis=0) >= 254).all()
    assert (quantize_embeddings(vectors, "int8").astype(int) == levels.astype(int) - 128).all()
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    assert (quantize_embeddings(vectors[:1], "uint8", ranges=ranges) == levels[:1]).all()
    for wrong in (ranges[::-1], ranges * np.nan, ranges * np.inf):
        with pytest.raises(InputError, match="ranges must be finite"):
            quantize_embeddings(vectors, "uint8", ranges=wrong)
    assert (quantize_embeddings(vectors[:1], "uint8", calibration_embeddings=vectors) == levels[:1]).all()
    with pytest.raises(InputError, match="at least two"):
        quantize_embeddings(vectors[0], "int8")
    with pytest.raises(InputError, match="precision"):
        quantize_embeddings(vectors, "int4")


def test_quantizing_nothing():
    assert quantize_embeddings(np.zeros((0, 20), np.float32), "binary").shape == (0, 3)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity_against_plain_loops(vectors, name):
    def plain(x, y):
        x, y = x.astype(np.float64), y.astype(np.float64)
        return {
            "cosine": x @ y / np.linalg.norm(x) / np.linalg.norm(y),
            "dot": x @ y,
            "euclidean": -np.linalg.norm(x - y),
            "manhattan": -np.abs(x - y).sum(),
        }[name]

    a, b = vectors[:3], vectors[3:]
    expected = [[plain(x, y) for y in b] for x in a]
    assert embed.similarity(a, b, name) == pytest.approx(np.array(expected), abs=1e-4)
    assert embed.similarity(a[0], b, name).shape == (1, 4)
    assert embed.similarity(a[:0], b, name).shape == (0, 4)
    diagonal = [plain(x, y) for x, y in zip(a, b[:3], strict=True)]
    assert embed.similarity_pairwise(a, b[:3], name) == pytest.approx(np.array(diagonal), abs=1e-4)


def test_similarity_of_what_does_not_fit(vectors):
    with pytest.raises(InputError, match="shapes"):
        embed.similarity(vectors, vectors[:, :5], "cosine")
    with pytest.raises(InputError, match="as many rows"):
        embed.similarity_pairwise(vectors, vectors[:2], "dot")
    with pytest.raises(InputError, match="similarity must be"):
        embed.similarity(vectors, vectors, "jaccard")


def test_options_that_encode_refuses():
    with pytest.raises(InputError, match="precision"):
        embed.checked_precision("float16")
    assert embed.checked_precision(None) == "float32"


@pytest.mark.parametrize("wrong", ["abc", ["1", "2"], None, 3, [[1, 2], [3]], [[[1.0]]], [1j], [True], {"a": 1}])
def test_what_is_no_vectors(vectors, wrong):
    for work in (
        lambda: embed.similarity(wrong, vectors, "cosine"),
        lambda: embed.similarity_pairwise(vectors, wrong, "dot"),
        lambda: quantize_embeddings(wrong, "binary"),
        lambda: quantize_embeddings(vectors, "int8", ranges=wrong if wrong is not None else 1),
        lambda: quantize_embeddings(vectors[0], "int8", calibration_embeddings=wrong),
    ):
        with pytest.raises(InputError):
            work()


def test_maxsim():
    random = np.random.default_rng(1)
    queries = [random.standard_normal((n, 4)).astype(np.float32) for n in (3, 1, 5)]
    documents = [random.standard_normal((n, 4)).astype(np.float32) for n in (2, 6)]
    expected = np.array([[sum(max(q @ d for d in text) for q in query) for text in documents] for query in queries])
    np.testing.assert_allclose(maxsim(queries, documents), expected, rtol=1e-5)
    np.testing.assert_allclose(maxsim(queries, documents, mean=True), expected / [[3], [1], [5]], rtol=1e-5)
    np.testing.assert_allclose(maxsim_pairwise(queries[:2], documents), np.diag(expected[:2]), rtol=1e-5)
    assert maxsim(queries[0], documents[0]).shape == (1, 1)
    assert maxsim([], documents).shape == (0, 2)
    with pytest.raises(InputError, match="different widths"):
        maxsim(queries, [np.ones((2, 5))])
    with pytest.raises(InputError, match="of a vector at least"):
        maxsim(queries, [np.ones((0, 4))])
    with pytest.raises(InputError, match="or a list of them"):
        maxsim(queries, 3)
