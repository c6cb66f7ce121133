"""Clients of others, where they are installed: what they really send, and what they make of the answers."""

from __future__ import annotations

import numpy as np
import pytest


def test_the_client_of_openai(client, models):
    openai = pytest.importorskip("openai")
    theirs = openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0)
    texts = ["a great movie", "hello world"]
    expected = models["embedder"].encode(texts)
    for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = theirs.embeddings.create(model="embedder", input=texts, user="somebody", **options)
        if options.get("encoding_format") != "base64":  # which the client leaves as it is, when asked for
            found = np.array([each.embedding for each in answer.data], np.float64).astype(np.float32)
            np.testing.assert_array_equal(found, expected)
        assert answer.usage.total_tokens == sum(models["embedder"].token_count(texts))
    assert [each.id for each in theirs.models.list().data] == [*models]
    assert theirs.models.retrieve("tokens").id == "tokens"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        theirs.embeddings.create(model="nothing", input="a")
    with pytest.raises(openai.BadRequestError, match="token-classification model"):
        theirs.embeddings.create(model="tokens", input="a")
    with pytest.raises(openai.BadRequestError, match="there is no field 'task'"):
        theirs.embeddings.create(model="embedder", input="a", extra_body={"task": "retrieval.query"})


def test_the_clients_of_cohere(client, models):
    cohere = pytest.importorskip("cohere")
    documents = ["a great film", "the plot was bad", "hello world"]
    expected = [(each["corpus_id"], each["score"]) for each in models["embedder"].rank("good film", documents)]
    for kind, options in ((cohere.Client, {"return_documents": True}), (cohere.ClientV2, {})):
        theirs = kind(api_key="none", base_url=f"http://127.0.0.1:{client.port}")
        answer = theirs.rerank(model="embedder", query="good film", documents=documents, top_n=2, **options)
        assert [(each.index, each.relevance_score) for each in answer.results] == expected[:2]
    with pytest.raises(cohere.BadRequestError, match="max_tokens_per_doc"):
        theirs.rerank(model="embedder", query="a", documents=documents, max_tokens_per_doc=4)


def test_the_client_of_the_hub(client, models, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    theirs = hub.InferenceClient(f"http://127.0.0.1:{client.port}/embed")
    vectors = theirs.feature_extraction("a great movie", normalize=False, truncate=True, truncation_direction="right")
    np.testing.assert_array_equal(vectors, models["embedder"].encode(["a great movie"]))


def test_langchain(client, models):
    found = pytest.importorskip("langchain_openai")
    place = {"model": "embedder", "base_url": f"http://127.0.0.1:{client.port}/v1", "api_key": "none"}
    theirs = found.OpenAIEmbeddings(**place, check_embedding_ctx_length=False)
    expected = models["embedder"].encode(["a great movie"])
    vectors = np.array(theirs.embed_documents(["a great movie"]), np.float64)
    np.testing.assert_array_equal(vectors.astype(np.float32), expected)
