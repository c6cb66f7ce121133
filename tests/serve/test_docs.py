"""The examples of docs/SERVE.md are requests that are answered, and every path is in it."""

from __future__ import annotations

import re
from pathlib import Path

from minibert.serve.bounds import Bounds
from minibert.serve.routes import ALL

PAGE = Path(__file__).parents[2] / "docs/SERVE.md"


def test_every_example_is_answered(client):
    text = PAGE.read_text().replace("\\\n", "")
    found = re.findall(r"curl localhost:8080(\S+)(?: -H '(Content-Type): (application/json)' +-d '([^\n]*)')?", text)
    for path, name, kind, body in found:
        # The models of the tests have other names, and read fewer tokens.
        path = path.replace("minilm", "embedder")
        data = (
            body.replace("{", '{"truncate": true, ', 1).encode() if body and "tokenize" not in path else body.encode()
        )
        answer = client.ask("POST", path, data, {name: kind}) if body else client.get(path)
        assert answer.status == 200, (path, answer.text)
    examples = {path.replace("minilm", "{model}") for path, *_ in found}
    for route in ALL:
        assert route.public or (route.path in examples and f"`{route.method} {route.path}`" in text), route.path


def test_the_limits_are_those_that_are_said():
    bounds, text = Bounds(), PAGE.read_text()
    said = {
        "`--max-queue`": f"{bounds.queue}",
        "bytes of their bodies": f"{bounds.queue_bytes >> 20} MiB",
        "`--max-body`": f"{bounds.body >> 20} MiB",
        "`--max-texts`": f"{bounds.texts:,}",
        "`--max-tokens`": f"{bounds.tokens:,}",
        "time for a request's headers": f"{bounds.read_seconds:g} s",
    }
    for name, value in said.items():
        assert re.search(rf"^\| {re.escape(name)}[^|]*\| {re.escape(value)} \|", text, re.MULTILINE), name
