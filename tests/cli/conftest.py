"""Fixtures of tiny models, and a command line that runs in this process."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from minibert.cli.main import main
from tests.tiny import *  # noqa: F403


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command: `run("predict", path, "a text", stdin=...)`."""
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    monkeypatch.setattr("warnings.showwarning", None)  # restored after the test: main() puts its own

    def call(*arguments, stdin: str | bytes = "") -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as stop:
            code = stop.code
        return Outcome(code, *capsys.readouterr())

    return call
