"""Too much at once, clients that are slow, gone or hostile: each has an answer or an end, and others have theirs."""

from __future__ import annotations

import json
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event

import pytest

import minibert
from minibert.serve.bounds import Bounds
from tests.serve.conftest import running
from tests.tiny import tiny_folder  # noqa: F401 - a fixture


@pytest.fixture
def embedder(tiny_folder):  # noqa: F811
    """One of our own, whose engine may be stopped."""
    return minibert.load(tiny_folder / "embedder.safetensors", backend="numpy")


@contextmanager
def stopped(model):
    """The engine waits; gives what says that it does, and is let go at the end."""
    begun, go_on = Event(), Event()
    forward = model.engine.forward

    def waiting(*arguments):
        begun.set()
        assert go_on.wait(60)
        return forward(*arguments)

    model.engine.forward = waiting
    try:
        yield begun
    finally:
        model.engine.forward = forward
        go_on.set()


def test_overload_is_refused_and_passes(embedder):
    with running({"m": embedder}, Bounds(queue=4)) as client, ThreadPoolExecutor(8) as pool:
        with stopped(embedder) as begun:
            waiting = [pool.submit(client.post, "/embed", {"inputs": "a"}) for _ in range(4)]
            assert begun.wait(60)
            while "minibert_queue_requests 4" not in client.get("/metrics").text:
                time.sleep(0.01)
            theirs = client.post("/embed", {"inputs": "a"})
            ours = client.post("/v1/embeddings", {"input": "a"})
            assert client.get("/health").status == 200
        assert (theirs.status, ours.status) == (429, 429)
        assert theirs.headers["retry-after"] == ours.headers["retry-after"] == "1"
        assert theirs.json["error_type"] == "Overloaded"
        assert ours.json["error"]["type"] == "rate_limit_error"
        assert [each.result().status for each in waiting] == [200] * 4
        assert client.post("/embed", {"inputs": "a"}).status == 200
        assert "minibert_queue_requests 0" in client.get("/metrics").text


def test_waiting_bodies_are_bounded_by_their_bytes(embedder):
    with running({"m": embedder}, Bounds(queue_bytes=2000)) as client, ThreadPoolExecutor(8) as pool:
        with stopped(embedder) as begun:
            waiting = pool.submit(client.post, "/embed", {"inputs": "a" * 1200, "truncate": True})
            assert begun.wait(60)
            assert client.post("/embed", {"inputs": "a" * 1200, "truncate": True}).status == 429
        assert waiting.result().status == 200


@pytest.mark.parametrize("size", [4000, 10 << 20])
def test_bodies_that_are_too_large(embedder, size):
    with running({"m": embedder}, Bounds(body=2000)) as client:
        answer = client.post("/v1/embeddings", {"input": "a" * size})
        assert answer.status == 413
        assert answer.json["error"]["code"] == "too_large"
        assert client.post("/embed", {"inputs": "a"}).status == 200
        # Without a length, in chunks.
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            raw.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            raw.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"a" * 1024 + b"\r\n400\r\n" + b"a" * 1024)
            raw.sendall(b"\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_texts_and_tokens_are_bounded(client, embedder):
    with running({"m": embedder}, Bounds(texts=3, tokens=100)) as client:
        assert client.post("/embed", {"inputs": ["a"] * 3}).status == 200
        for inputs in (["a"] * 4, "good " * 100, ["good " * 15] * 3 + ["a"], [[2]] * 4):
            answer = client.post("/embed", {"inputs": inputs, "truncate": True})
            assert answer.status == 413
            assert "that a request may have" in answer.json["error"] or "more than 3 texts" in answer.json["error"]


def test_candidates_and_documents_count_as_texts(models):
    with running({name: models[name] for name in ("inference", "regression")}, Bounds(texts=6, tokens=400)) as client:
        body = {"model": "inference", "inputs": ["a"] * 3, "candidate_labels": ["a", "b"]}
        assert client.post("/tasks/zero-shot-classification", body).status == 200
        body["inputs"].append("a")
        assert client.post("/tasks/zero-shot-classification", body).status == 400
        body = {"model": "regression", "query": "a " * 200, "texts": ["b"] * 5, "truncate": True}
        assert client.post("/rerank", body).status == 413


def test_windows_without_number_are_refused(models):
    """A question that fills nearly all of a window, a stride that is nearly one: a context is read over and over."""
    with running({name: models[name] for name in ("questions", "tokens")}) as client:
        question = {"question": "who " * 18, "context": "good " * 2000}
        answer = client.post("/tasks/question-answering", {"inputs": question})
        assert answer.status == 400
        assert "half of what is read at once" in answer.json["error"]["message"]
        body = {"inputs": "good " * 2000, "stride": 20, "aggregation_strategy": "simple"}
        assert client.post("/tasks/token-classification", body).status == 400


def test_slow_clients_are_sent_away(embedder):
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    with running({"m": embedder}, Bounds(read_seconds=0.5)) as client:
        for begun, ended in ((head + b"\r\n" + b'{"inputs', b"HTTP/1.1 408 "), (head, b""), (b"", b"")):
            with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
                raw.sendall(begun)
                assert raw.recv(1000)[: len(ended) or None] == ended
        # Also on a connection that has had an answer, and one that sends headers without end.
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")
            raw.sendall(b"GET /health HTTP/1.1\r\nHo")
            assert raw.recv(1000) == b""
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\n")
            with pytest.raises(ConnectionError):
                flood(raw)


def flood(raw: socket.socket) -> None:
    while True:
        raw.sendall(b"X: y\r\n" * 1000)
        time.sleep(0.001)


def test_who_hangs_up_stalls_nobody(embedder):
    body = json.dumps({"inputs": ["good"] * 200}).encode()
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with running({"m": embedder}, Bounds(queue=8)) as client:
        with stopped(embedder) as begun:
            raws = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(6)]
            for raw in raws:
                raw.sendall(head + body)
            assert begun.wait(60)
            for raw in raws:
                raw.close()
            while "minibert_queue_requests 0" not in client.get("/metrics").text:
                time.sleep(0.01)
        assert client.post("/embed", {"inputs": "a"}).status == 200
        assert 'path="/embed",status="499"} 6' in client.get("/metrics").text


@pytest.mark.parametrize("key", ["secret", "schlüssel"])
def test_keys(embedder, key):
    with running({"m": embedder}, api_key=key) as client:
        header = {"Authorization": b"Bearer " + key.encode()}
        for path in ("/", "/health", "/openapi.json", "/docs"):
            assert client.get(path).status == 200
        for path in ("/v1/models", "/info", "/metrics"):
            answer = client.get(path)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert client.ask("GET", path, None, header).status == 200
        for wrong in ("secre", "Basic secret", "Bearer", "Bearer ", "Bearer secretx", "secret"):
            answer = client.ask("POST", "/embed", {"inputs": "a"}, {"Authorization": wrong})
            assert answer.status == 401
            assert answer.json["error_type"] == "Validation"
        assert client.ask("POST", "/embed", {"inputs": "a"}, header).status == 200


def test_other_names_are_refused(embedder):
    with running({"m": embedder}, hosts={"localhost", "127.0.0.1", "[::1]"}) as client:
        for name in ("localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]"):
            assert client.get("/info", Host=name).status == 200
        for name in ("evil.example", "evil.example:80", "localhost.evil.example", "[::2]", ""):
            assert client.get("/info", Host=name).status == 403


def test_pages_of_other_sites_cannot_ask(client):
    """What a browser sends without asking first: forms and plain text."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = client.ask("POST", "/embed", b'{"inputs": "a"}', {"Content-Type": kind})
        assert answer.status == 415
    assert client.ask("OPTIONS", "/embed").status == 405
    assert not any(name.startswith("access-control") for name in client.post("/embed", {"inputs": "a"}).headers)
    kind = {"Content-Type": "application/json; charset=utf-8"}
    assert client.ask("POST", "/embed", b'{"inputs": "a"}', kind).status == 200
    assert client.ask("POST", "/embed", b"", {"Content-Encoding": "gzip"}).status == 415


def test_paths_and_methods(client):
    for method, path, status in (("GET", "/embed", 405), ("POST", "/info", 405), ("GET", "/v1/models/", 404)):
        assert client.ask(method, path).status == status
    assert client.get("/embed").headers["allow"] == "POST"
    assert client.get("/../etc/passwd").status == 404
    assert client.get("/page/index.html").status == 404


#: Bodies that some path answers, to be spoiled.
GOOD = [
    ("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "float", "dimensions": 3, "model": "embedder"}),
    ("/v1/rerank", {"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1, "return_documents": True}),
    ("/embed", {"inputs": ["a", "b"], "normalize": True, "truncate": False, "prompt_name": None, "dimensions": 3}),
    ("/embed_sparse", {"inputs": ["a", "b"]}),
    ("/rerank", {"query": "a", "texts": ["b", "c"], "raw_scores": False, "return_text": True}),
    ("/predict", {"inputs": [["a"], ["b", "c"]], "raw_scores": False, "model": "classifier"}),
    ("/tokenize", {"inputs": ["a", "b"], "add_special_tokens": True}),
    ("/tasks/text-classification", {"inputs": "a", "top_k": 2, "function_to_apply": "softmax"}),
    (
        "/tasks/zero-shot-classification",
        {
            "model": "inference",
            "inputs": "a",
            "candidate_labels": ["b", "c"],
            "hypothesis_template": "it is {}",
            "multi_label": True,
        },
    ),
    (
        "/tasks/token-classification",
        {"inputs": "a b", "aggregation_strategy": "simple", "ignore_labels": ["O"], "stride": 2},
    ),
    (
        "/tasks/question-answering",
        {"inputs": {"question": "a", "context": "b c"}, "top_k": 2, "max_answer_len": 3, "doc_stride": 2},
    ),
    ("/tasks/fill-mask", {"inputs": "a [MASK]", "top_k": 2, "targets": ["good"]}),
]
#: What a field may be spoiled with.
NONSENSE = [
    *(None, True, False, 0, -1, 1.5, 1e308, 10**400, "", "a", "\ud800", "\0", "{}", "{0.__class__}", "{:>9999999999}"),
    *([], {}, [[]], [None], [1], ["a", 1], [["a"], "b"], {"text": "a"}, {"question": "a"}, [[["a"]]], ["a"] * 5000),
    *("good " * 5000, [2] * 30, [10**30], {"a": {"b": {}}}, "9" * 6000),
]


@pytest.mark.parametrize("seed", range(4))
def test_malformed_requests(client, capfd, seed):
    """A thousand spoiled requests: each has an answer of its dialect, none that blames the service."""
    rng = random.Random(seed)
    refused = 0
    for _ in range(250):
        path, good = rng.choice(GOOD)
        body = dict(good)
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice([*body, "unknown"])
            if rng.random() < 0.1:
                body.pop(name, None)
            else:
                body[name] = rng.choice(NONSENSE)
        data = json.dumps(body).encode()
        how = rng.random()
        if how < 0.1:
            data = data[: rng.randrange(len(data))]
        elif how < 0.2:
            place = rng.randrange(len(data))
            data = data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place + 1 :]
        elif how < 0.25:
            data = rng.choice((b"", b"null", b"[]", b"NaN", b"[" * 100_000, b'{"a":' * 5000, b"1" * 5000, b"\xff\xfe{"))
        answer = client.ask("POST", path, data)
        assert answer.status in (200, 400, 404, 413, 422, 424), (path, data[:300], answer.text[:300])
        refused += answer.status != 200
        if answer.status != 200:
            assert answer.json.keys() in ({"error"}, {"error", "error_type"}, {"message", "detail"})
        assert answer.json is not None
    assert refused > 100
    assert "Traceback" not in capfd.readouterr().err
    assert client.post("/embed", {"inputs": "a"}).status == 200


def test_raw_nonsense(client):
    rng = random.Random(0)
    for size in (1, 10, 1000, 100_000):
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            try:
                raw.sendall(rng.randbytes(size) + b"\r\n\r\n")
                assert raw.recv(100)[:12] in (b"", b"HTTP/1.1 400")
            except ConnectionError:
                pass
    assert client.get("/health").status == 200


def test_failures_of_the_service_are_500_and_stay_alone(embedder, capfd):
    with running({"m": embedder}) as client:
        forward = embedder.engine.forward
        for error, status in ((ZeroDivisionError("a secret"), 500), (MemoryError(), 503)):

            def failing(*_, error=error):
                raise error

            embedder.engine.forward = failing
            answer = client.post("/v1/embeddings", {"input": "a"})
            embedder.engine.forward = forward
            assert answer.status == status
            assert "secret" not in answer.text
            assert answer.json["error"]["type"] == "server_error"
        assert client.post("/embed", {"inputs": "a"}).status == 200
    assert "a secret" in capfd.readouterr().err


def test_a_refusal_is_heard_by_who_closes_behind_the_request(embedder):
    """All of the body is on its way when the answer is known: closing then would take the answer back."""
    with running({"m": embedder}, Bounds(body=2000)) as client:
        for kind, status in ((b"application/json", b"413"), (b"text/plain", b"415")):
            with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
                raw.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %b\r\n" % kind)
                raw.sendall(b"Content-Length: 3000000\r\n\r\n" + b"a" * 3_000_000)
                assert raw.recv(100)[9:12] == status
        # Who waits to be told to send is told not to, and by nothing else.
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            raw.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            raw.sendall(b"Expect: 100-continue\r\nContent-Length: 3000000\r\n\r\n")
            answer = b"".join(iter(lambda: raw.recv(1000), b""))
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"connection: close" in answer


def test_bodies_count_before_they_are_whole(embedder):
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with running({"m": embedder}, Bounds(queue_bytes=2000, texts=5)) as client:
        body = json.dumps({"inputs": "a" * 1200, "truncate": True}).encode()
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
            raw.sendall(head % len(body) + body[:-1])
            while client.post("/embed", body).status == 200:  # until the other one's have come
                time.sleep(0.01)
            assert client.post("/embed", body).status == 429
            raw.sendall(body[-1:])
            assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
        assert client.post("/embed", body).status == 200


def test_tokenizing_takes_a_place(embedder):
    with running({"m": embedder}, Bounds(queue=1)) as client, ThreadPoolExecutor(1) as pool:
        with stopped(embedder) as begun:
            waiting = pool.submit(client.post, "/embed", {"inputs": "a"})
            assert begun.wait(60)
            assert client.post("/tokenize", {"inputs": "a"}).status == 429
        assert waiting.result().status == 200
        assert client.post("/tokenize", {"inputs": "a"}).status == 200


def test_answers_that_nobody_takes_are_thrown_away(embedder):
    body = json.dumps({"inputs": ["a"] * 20_000}).encode()  # an answer of 9 MB, more than a connection holds
    with running({"m": embedder}, Bounds(read_seconds=0.3, texts=20_000)) as client:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with raw:
            raw.settimeout(60)
            raw.connect(("127.0.0.1", client.port))
            raw.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            raw.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while 'path="/embed",status="200"} 1' not in client.get("/metrics").text:
                time.sleep(0.05)
            time.sleep(2)
            with suppress(ConnectionError):  # some systems say that it was cut off, some only that it ends
                answer = b"".join(iter(lambda: raw.recv(1 << 20), b""))
                head, _, content = answer.partition(b"\r\n\r\n")
                assert 0 < len(content) < int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
