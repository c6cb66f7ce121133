"""How much of everything there may be."""

from __future__ import annotations

from minibert.tuples import NamedTuple


class Bounds(NamedTuple):
    """What one request may have, and what may wait.

    Attributes:
        body: bytes of a request's body.
        texts: texts of a request: inputs, documents, pairs of a text and a candidate label.
        tokens: tokens of a request, all its texts together.
        queue: requests that wait or are at work, of all models together.
        queue_bytes: bytes of their bodies.
        read_seconds: in which a client must have sent its request.
    """

    body: int = 2 << 20
    texts: int = 2048
    tokens: int = 1 << 18
    queue: int = 256
    queue_bytes: int = 64 << 20
    read_seconds: float = 30.0
