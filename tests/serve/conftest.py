"""A service over tiny models, on a port of the loopback address, and a client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

import minibert
from minibert.serve.app import App
from minibert.serve.bounds import Bounds
from minibert.serve.service import Service
from tests.tiny import tiny_folder  # noqa: F401 - a fixture

#: Without uvicorn, which the extra `serve` installs, there is nothing to start.
collect_ignore_glob = [] if find_spec("uvicorn") else ["test_*.py"]

#: Names of models, and files of tests/tiny.py.
NAMES = ("embedder", "prompted", "classifier", "regression", "inference", "tokens", "questions", "vectors", "masks")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Asks a service; `port` says which."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return self.ask_on(connection, method, path, body, headers)
        finally:
            connection.close()

    @staticmethod
    def ask_on(connection: HTTPConnection, method: str, path: str, body: Any = None, headers=None) -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {} if data is None else {"Content-Type": "application/json"}
        connection.request(method, path, data, {**given, **(headers or {})})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read().decode())

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)


@contextmanager
def running(models: dict[str, minibert.Model], bounds: Bounds | None = None, **options: Any) -> Iterator[Client]:
    """A service in a thread of this process."""
    from minibert.serve import server

    service = Service(models, bounds, **{name: options.pop(name) for name in ("truncate", "packed") if name in options})
    listening = server.listen("127.0.0.1", 0)
    ready = Event()
    made = server.Server(App(service, **options), listening, ready.set)
    thread = Thread(target=made.serve_until_stopped)
    thread.start()
    try:
        assert ready.wait(60)
        yield Client(listening.getsockname()[1])
    finally:
        made.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def models(tiny_folder):  # noqa: F811
    return {name: minibert.load(tiny_folder / f"{name}.safetensors", backend="numpy") for name in NAMES}


@pytest.fixture(scope="session")
def client(models):
    with running(models) as client:
        yield client
