"""A path of the service: what answers it, in which dialect, and what its body has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from minibert.serve.refusals import Refusal
from minibert.serve.responses import Response
from minibert.serve.service import Call, Service
from minibert.tuples import NamedTuple

Handler = Callable[[Service, Call], Awaitable[Response]]


class Field(NamedTuple):
    """A field of a body.

    Attributes:
        schema: what may stand there, as JSON Schema.
        needed: whether it must be given.
    """

    schema: dict[str, Any]
    needed: bool = False


class Route(NamedTuple):
    """A path and a method.

    Attributes:
        method: of HTTP.
        path: exact, or with {name} at its end.
        summary: what it does, in a line.
        handler: answers.
        shape: makes the answer of a refusal.
        fields: of the body, by name; None for a request without one.
        example: of a body.
        public: whether it is for everyone where others need a key.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    shape: Callable[[Refusal], Response]
    fields: dict[str, Field] | None = None
    example: dict[str, Any] | None = None
    public: bool = False

    @property
    def has_body(self) -> bool:
        """Whether there is one to read."""
        return self.fields is not None
