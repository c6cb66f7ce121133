"""What all stacks share, without any of them."""

from __future__ import annotations

import importlib
import pickle
import sys

import pytest

import minibert
from minibert import InputError
from minibert.integrations.parts import Vectors, best, name_of

pytestmark = pytest.mark.usefixtures("numpy_backend")

#: What stands in each module's message, and the module that it then lacks.
STACKS = {
    "chroma": ("chromadb", "chromadb"),
    "haystack": ("haystack-ai", "haystack"),
    "lancedb": ("lancedb", "lancedb"),
    "langchain": ("langchain-core", "langchain_core"),
    "llama_index": ("llama-index-core", "llama_index"),
    "spacy": ("spacy", "spacy"),
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_that_is_missing_is_named(stack, monkeypatch):
    package, module = STACKS[stack]
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"minibert.integrations.{stack}", raising=False)
    with pytest.raises(ImportError, match=f"pip install {package}$"):
        importlib.import_module(f"minibert.integrations.{stack}")


def test_each_side_has_its_prompt(embedder):
    by_file, by_hand = Vectors(embedder), Vectors(embedder, query_prompt="hello ", document_prompt="")
    assert (by_file.query("bad") == embedder.encode("query : bad")).all()
    assert (by_file.documents(["bad"])[0] == embedder.encode("hello bad")).all()
    assert (by_hand.query("bad") == embedder.encode("hello bad")).all()
    assert (by_hand.documents(["bad"])[0] == embedder.encode("bad")).all()
    assert by_file.dim == 40
    assert Vectors(embedder, truncate_dim=8).queries(["a", "b"]).shape == (2, 8)
    assert Vectors(embedder, normalize_embeddings=True).query("bad") @ by_file.query("bad") > 0


def test_options_make_the_same_again(embedder_path):
    vectors = Vectors(str(embedder_path), truncate_dim=8, query_prompt="hello ")
    for again in (Vectors(**vectors.config), pickle.loads(pickle.dumps(vectors))):
        assert (again.query("bad") == vectors.query("bad")).all()
    assert name_of(minibert.load(embedder_path, backend="numpy")) == str(embedder_path)


def test_what_is_refused(embedder, classifier, colbert):
    with pytest.raises(InputError, match="did you mean 'query_prompt'"):
        Vectors(embedder, query_promt="a")
    with pytest.raises(InputError, match="threads"):
        Vectors(embedder, threads=1)
    with pytest.raises(InputError, match="truncate_dim"):
        Vectors(embedder, truncate_dim=0)
    for model in (classifier, colbert):
        with pytest.raises(minibert.UnsupportedError):
            Vectors(model)


def test_the_best_come_first(ranker, embedder, colbert):
    texts = ["bad", "a great movie", "hello world"]
    for model in (ranker, embedder, colbert):
        found = best(model, "was it good", texts, None)
        assert sorted(place for place, _ in found) == [0, 1, 2]
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert best(model, "was it good", texts, 1) == found[:1]
        assert best(model, "was it good", [], 1) == []
