"""Every path of every dialect: answers have the bits of the methods in this process, refusals the dialect's shape."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minibert.serve.routes import ALL

TEXTS = ["a great movie", "", "the plot was bad and the actor was not very good", "hello world ünd 日本 \U0001f600"]
CONTEXT = "the plot was good and the actor was not very bad"


def float32(values) -> np.ndarray:
    return np.array(values, np.float64).astype(np.float32)


def same(a, b) -> None:
    np.testing.assert_array_equal(a, b, strict=True)


def test_embeddings_have_the_same_bits(client, models):
    expected = models["embedder"].encode(TEXTS)
    for many, given in ((expected, TEXTS), (expected[:1], TEXTS[0])):
        body = {"model": "embedder", "input": given}
        answer = client.post("/v1/embeddings", body).json
        same(float32([each["embedding"] for each in answer["data"]]), many)
        assert [each["index"] for each in answer["data"]] == [*range(len(many))]
        packed = client.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json["data"]
        same(np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in packed]), many)
        tokens = sum(models["embedder"].token_count([given] if isinstance(given, str) else given))
        assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_embeddings_of_tokens(client, models):
    ids = [models["embedder"].tokenizer.encode(text).ids for text in TEXTS]
    answer = client.post("/v1/embeddings", {"model": "embedder", "input": ids}).json
    same(float32([each["embedding"] for each in answer["data"]]), models["embedder"].encode(TEXTS))
    one = client.post("/v1/embeddings", {"model": "embedder", "input": ids[0]}).json
    same(float32(one["data"][0]["embedding"]), models["embedder"].encode(TEXTS[0]))
    vocabulary = models["embedder"].config.architecture.vocab_size
    for wrong in ([vocabulary], [-1], [2, True], [2.0], [[2], []], [10**30], [[2], "a"]):
        assert client.post("/v1/embeddings", {"model": "embedder", "input": wrong}).status == 400


def test_dimensions_and_prompts(client, models):
    model = models["prompted"]
    body = {"model": "prompted", "input": TEXTS[:1], "dimensions": 7, "input_type": "query"}
    answer = client.post("/v1/embeddings", body).json["data"][0]["embedding"]
    same(float32(answer), model.encode(TEXTS[0], prompt_name="query", truncate_dim=7, normalize_embeddings=True))
    plain = client.post("/v1/embeddings", {"model": "prompted", "input": TEXTS[0]}).json["data"][0]["embedding"]
    same(float32(plain), model.encode(TEXTS[0]))
    body = {"model": "prompted", "inputs": TEXTS, "prompt_name": "query", "normalize": False}
    same(float32(client.post("/embed", body).json), model.encode(TEXTS, prompt_name="query"))
    body = {"model": "prompted", "inputs": TEXTS, "prompt_name": "nonsense"}
    assert "no prompt called" in client.post("/embed", body).json["error"]
    for wrong in (0, 41, "7", True, 2.0):
        body = {"model": "prompted", "input": "a", "dimensions": wrong}
        assert client.post("/v1/embeddings", body).json["error"]["param"] == "dimensions"


def test_embed(client, models):
    answer = client.post("/embed", {"inputs": TEXTS}).json
    same(float32(answer), models["embedder"].encode(TEXTS, normalize_embeddings=True))
    same(
        float32(client.post("/embed", {"inputs": "a"}).json),
        models["embedder"].encode(["a"], normalize_embeddings=True),
    )


def test_embed_sparse(client, models):
    answer = client.post("/embed_sparse", {"inputs": TEXTS}).json
    for found, vector in zip(answer, models["masks"].encode_sparse(TEXTS), strict=True):
        same(np.array([each["index"] for each in found], np.int32), vector.indices)
        same(float32([each["value"] for each in found]), vector.values)


def test_predict(client, models):
    model = models["classifier"]
    body = {"model": "classifier", "inputs": [[text] for text in TEXTS] + [["hello", "world"]]}
    expected = model.classify([*TEXTS, ("hello", "world")], top_k=None)
    assert client.post("/predict", body).json == expected
    assert client.post("/predict", {**body, "inputs": "hello"}).json == model.classify("hello", top_k=None)
    assert client.post("/predict", {**body, "inputs": ["hello", "world"]}).json == expected[-1]
    raw = client.post("/predict", {**body, "inputs": "hello", "raw_scores": True}).json
    assert raw == model.classify("hello", top_k=None, function_to_apply="none")
    assert client.post("/predict", {**body, "inputs": ["a", "b", "c"]}).status == 422


@pytest.mark.parametrize("name", ["regression", "embedder", "prompted", "vectors"])
def test_rank(client, models, name):
    documents = ["a great film", "the plot was bad", "hello world"]
    expected = models[name].rank("good film", documents)
    answer = client.post("/rerank", {"model": name, "query": "good film", "texts": documents, "return_text": True}).json
    found = [(each["index"], each["score"], each["text"]) for each in answer]
    assert found == [(each["corpus_id"], each["score"], documents[each["corpus_id"]]) for each in expected]
    given = [documents[0], {"text": documents[1]}, documents[2]]
    body = {"model": name, "query": "good film", "documents": given, "top_n": 2, "return_documents": True}
    answer = client.post("/v1/rerank", body).json
    found = [(each["index"], each["relevance_score"], each["document"]["text"]) for each in answer["results"]]
    assert found == [(each["corpus_id"], each["score"], documents[each["corpus_id"]]) for each in expected[:2]]


def test_tasks(client, models):
    def ask(task, model, inputs, **options):
        answer = client.post(f"/tasks/{task}", {"model": model, "inputs": inputs, **options})
        assert answer.status == 200, answer.text
        return answer.json["answer"]

    def plain(value):
        return json.loads(json.dumps(value))

    assert ask("text-classification", "classifier", TEXTS, top_k=2) == models["classifier"].classify(TEXTS, top_k=2)
    assert ask("text-classification", "classifier", "hello") == models["classifier"].classify("hello")
    pair = {"text": "hello", "text_pair": "world"}
    assert ask("text-classification", "classifier", pair) == models["classifier"].classify(pair)
    for options in ({}, {"aggregation_strategy": "first", "stride": 4}):
        texts = [*TEXTS, " ".join(["the actor was very good"] * 20)] if options else TEXTS
        expected = models["tokens"].classify_tokens(texts, **options)
        assert ask("token-classification", "tokens", texts, **options) == plain(expected)
    questions = [{"question": "who", "context": CONTEXT}, {"question": "was it", "context": " ".join([CONTEXT] * 9)}]
    assert ask("question-answering", "questions", questions) == models["questions"].answer(questions)
    expected = models["questions"].answer(questions[0], top_k=3, doc_stride=2)
    assert ask("question-answering", "questions", questions[0], top_k=3, doc_stride=2) == expected
    masked = ["a [MASK] movie", "the [MASK] was [MASK]"]
    assert ask("fill-mask", "masks", masked, top_k=2) == plain(models["masks"].fill_mask(masked, top_k=2))
    labels = {"candidate_labels": ["film", "plot", "actor"]}
    expected = models["inference"].zero_shot(TEXTS, **labels)
    assert ask("zero-shot-classification", "inference", TEXTS, **labels) == expected
    options = {**labels, "multi_label": True, "hypothesis_template": "it is {}"}
    expected = models["inference"].zero_shot(TEXTS[0], **options)
    assert ask("zero-shot-classification", "inference", TEXTS[0], **options) == expected


def test_many_at_once_have_the_bits_of_each_alone(client, models):
    """Whatever shares a pass: tasks, models, lengths."""
    texts = [" ".join(["good", "bad", "film", "plot"][place % 4] for place in range(length)) for length in range(1, 20)]
    vectors = models["prompted"].encode(texts, prompt_name="query")

    def ask(place):
        body = {"model": "prompted", "inputs": texts[place], "normalize": False, "prompt_name": "query"}
        if place % 3 == 0:
            return client.post("/v1/embeddings", {"model": "prompted", "input": texts[place], "input_type": "query"})
        return client.post("/embed", body)

    places = [*range(len(texts))] * 6
    with ThreadPoolExecutor(16) as pool:
        for place, answer in zip(places, pool.map(ask, places), strict=True):
            found = answer.json["data"][0]["embedding"] if place % 3 == 0 else answer.json[0]
            same(float32(found), vectors[place])


def test_tokenize(client, models):
    tokenizer = models["embedder"].tokenizer
    (found,) = client.post("/tokenize", {"model": "embedder", "inputs": "hello, wörld"}).json
    assert [each["id"] for each in found] == tokenizer.encode("hello, wörld").ids
    assert [each["special"] for each in found] == [True] + [False] * (len(found) - 2) + [True]
    assert all("hello, wörld"[each["start"] : each["stop"]] == each["text"] for each in found if not each["special"])
    (bare,) = client.post(
        "/tokenize", {"model": "embedder", "inputs": "hello, wörld", "add_special_tokens": False}
    ).json
    assert bare == found[1:-1]


def test_what_is_served(client, models):
    assert [each["id"] for each in client.get("/v1/models").json["data"]] == [*models]
    assert client.get("/v1/models/tokens").json["task"]["kind"] == "token-classification"
    assert client.get("/v1/models/nothing").json["error"]["code"] == "model_not_found"
    info = client.get("/info").json
    assert info["model_id"] == "embedder"
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert [each["model_id"] for each in info["models"]] == [*models]
    assert (client.get("/health").status, client.get("/health").text) == (200, "")
    head = client.ask("HEAD", "/info")
    assert head.status == 200
    assert head.text == ""
    assert int(head.headers["content-length"]) > 100


def test_metrics_add_up(client):
    def count():
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        return {name: float(value) for name, value in lines.items()}

    before = count()
    client.post("/embed", {"inputs": ["a", "b"]})
    client.post("/embed", {"inputs": 1})
    client.get("/nothing/here")
    after = count()

    def more(name):
        return after[name] - before.get(name, 0)

    assert more('minibert_requests_total{path="/embed",status="200"}') == 1
    assert more('minibert_requests_total{path="/embed",status="422"}') == 1
    assert more('minibert_requests_total{path="other",status="404"}') == 1
    assert more('minibert_request_seconds_count{path="/embed"}') == 2
    assert more('minibert_tokens_total{model="embedder"}') == 6
    assert more('minibert_pass_texts_sum{model="embedder"}') == 2
    assert after["minibert_queue_requests"] == 0


def test_openapi_examples_are_answered(client):
    """Every example of the document is a request that is answered."""
    paths = client.get("/openapi.json").json["paths"]
    assert {(route.path, route.method.lower()) for route in ALL} == {
        (path, method) for path, methods in paths.items() for method in methods
    }
    for path, methods in paths.items():
        if "post" in methods:
            body = methods["post"]["requestBody"]["content"]["application/json"]["example"]
            answer = client.post(path, {**body, "model": "inference"} if "zero-shot" in path else body)
            assert answer.status == 200, (path, answer.text)
        elif "{" not in path:
            assert client.get(path).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/embeddings", {"input": "a", "model": "nothing"}, 404, "model_not_found"),
        ("/v1/embeddings", {"input": "a", "model": "tokens"}, 400, "unsupported"),
        ("/v1/embeddings", {"model": "embedder"}, 400, "invalid_request"),
        ("/v1/embeddings", {"input": []}, 400, "invalid_request"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 400, "invalid_request"),
        ("/v1/embeddings", {"input": "good " * 100}, 400, "context_length_exceeded"),
        ("/tasks/question-answering", {"inputs": "a"}, 400, "invalid_request"),
        ("/tasks/fill-mask", {"inputs": "no mask"}, 400, "invalid_request"),
        ("/tasks/fill-mask", {"inputs": "[MASK]", "top_k": 10**9}, 400, "invalid_request"),
        ("/tasks/token-classification", {"inputs": "a", "nonsense": 1}, 400, "invalid_request"),
        ("/tasks/zero-shot-classification", {"model": "inference", "inputs": "a"}, 400, "invalid_request"),
        (
            "/tasks/zero-shot-classification",
            {"model": "inference", "inputs": "a", "candidate_labels": ["b"], "hypothesis_template": "{:>99999999}"},
            400,
            "invalid_request",
        ),
    ],
)
def test_refusals_of_openai(client, path, body, status, code):
    answer = client.post(path, body)
    assert answer.status == status, answer.text
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": 3}, 422, "Validation"),
        ("/embed", {"inputs": "good " * 100}, 413, "Validation"),
        ("/embed", {"inputs": "a", "model": "tokens"}, 424, "Backend"),
        ("/embed", {"inputs": "a", "model": "vectors"}, 424, "Backend"),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, 422, "Validation"),
        ("/predict", {"inputs": "a", "model": "embedder"}, 424, "Backend"),
        ("/embed_sparse", {"inputs": "a", "model": "embedder"}, 424, "Backend"),
        ("/rerank", {"query": "a", "texts": ["b"], "model": "classifier"}, 424, "Backend"),
        ("/rerank", {"query": "a", "texts": []}, 422, "Validation"),
        ("/rerank", {"texts": ["b"]}, 422, "Validation"),
    ],
)
def test_refusals_of_tei(client, path, body, status, kind):
    answer = client.post(path, body)
    assert answer.status == status, answer.text
    assert set(answer.json) == {"error", "error_type"}
    assert answer.json["error_type"] == kind


def test_refusals_of_cohere(client):
    answer = client.post("/v1/rerank", {"query": 1, "documents": ["a"]})
    assert answer.status == 400
    assert "query must be a string" in answer.json["message"]
    assert answer.json["detail"] == answer.json["message"]


def test_texts_that_are_too_long(client, models):
    long = " ".join(["good"] * 100)
    refused = client.post("/v1/embeddings", {"input": ["a", long]}).json["error"]["message"]
    assert refused.startswith("text 1 has 102 tokens, more than the 24 that embedder reads")
    cut = client.post("/v1/embeddings", {"input": long, "truncate": True}).json
    with pytest.warns(UserWarning, match="cut to 24 tokens"):
        same(float32(cut["data"][0]["embedding"]), models["embedder"].encode(long))
    assert cut["usage"]["prompt_tokens"] == 24


#: Fields that mean something to services of other models, or to other versions of a dialect.
FOREIGN = [
    ("/v1/embeddings", {"input": "a"}, {"task": "retrieval.query", "late_chunking": True, "truncate_prompt_tokens": 3}),
    ("/v1/rerank", {"query": "a", "documents": ["b"]}, {"rank_fields": ["text"], "max_chunks_per_doc": 1}),
    ("/v2/rerank", {"query": "a", "documents": ["b"]}, {"max_tokens_per_doc": 5}),
    ("/embed", {"inputs": "a"}, {"encoding_format": "base64", "input": "b", "instruction": "query: "}),
    ("/rerank", {"query": "a", "texts": ["b"]}, {"documents": ["c"], "top_n": 1}),
    ("/predict", {"inputs": "a"}, {"top_k": 1}),
    ("/tokenize", {"inputs": "a"}, {"truncate": True}),
]


@pytest.mark.parametrize(("path", "body", "foreign"), FOREIGN)
def test_fields_that_there_are_not_are_refused_by_name(client, path, body, foreign):
    for name, value in foreign.items():
        answer = client.post(path, {**body, name: value})
        assert answer.status in (400, 422)
        assert f"there is no field '{name}': there are" in answer.text
        assert client.post(path, {**body, name: None}).status == 200
    assert client.post(path, {**body, "user": "somebody", "priority": 3}).status == 200


def test_token_ids_of_another_tokenizer_are_refused(client, models):
    ids = models["embedder"].tokenizer.encode("hello world").ids
    for wrong in (ids[1:], ids[:-1], ids[1:-1], [*ids, 7]):
        answer = client.post("/v1/embeddings", {"model": "embedder", "input": [ids, wrong]})
        assert answer.status == 400
        assert "text 1: token ids begin with [2] and end with [3] here" in answer.json["error"]["message"]
        assert client.post("/embed", {"model": "embedder", "inputs": wrong}).status == 422
    long = [2, *ids[1:2] * 40, 3]
    answer = client.post("/v1/embeddings", {"model": "embedder", "input": long[:24], "truncate": True})
    assert answer.status == 200  # the model reads no more: its end may have been cut off
