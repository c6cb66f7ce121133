"""What goes back: a status, a type and bytes; and vectors in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from minibert.tuples import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]


class Response(NamedTuple):
    """An answer.

    Attributes:
        status: of HTTP.
        body: all of it.
        type: its media type.
        headers: beside those of length and type.
    """

    status: int
    body: bytes
    type: bytes = b"application/json"
    headers: Headers = ()


def as_json(value: Any, status: int = 200, headers: Headers = ()) -> Response:
    """A value in JSON."""
    try:
        body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # half a character, which a client sent as an escape, goes back as one
        body = json.dumps(value, allow_nan=False).encode()
    return Response(status, body, headers=headers)


def numbers(row: np.ndarray) -> str:
    """A vector of float32 as a JSON list: nine digits bring every number back exactly."""
    return "[" + ",".join(["%.9g"] * len(row)) % tuple(row.tolist()) + "]"


def lists(rows: Sequence[np.ndarray] | np.ndarray) -> str:
    """Vectors as a JSON list of lists."""
    return "[" + ",".join(map(numbers, rows)) + "]"
