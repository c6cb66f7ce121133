"""OpenAI's own client, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

openai = pytest.importorskip("openai")


def test_the_client_of_openai(client, models):
    theirs = openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0)
    texts = ["a great movie", "hello world"]
    expected = models["embedder"].encode(texts)
    for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = theirs.embeddings.create(model="embedder", input=texts, **options)
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
