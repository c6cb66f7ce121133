"""What a user asks to be pruned: `4x4:0.8`, `heads:0.33`, `ffn:0.5`, `layers:2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from minibert.errors import InputError

Kind = Literal["blocks", "heads", "ffn", "layers"]

#: Sides of a block: of a power of two of weights, so that larger blocks consist of whole smaller ones.
SIDES = (1, 2, 4, 8, 16, 32, 64)
_BLOCKS = re.compile(r"(\d{1,3})x(\d{1,3})")
_EXAMPLES = "4x4:0.8, unstructured:0.5, heads:0.33, ffn:0.5, layers:2 or layers:1,3"


@dataclass(frozen=True)
class Request:
    """One thing to prune.

    Attributes:
        kind: "blocks" of weights, attention "heads", "ffn" neurons, or whole "layers".
        amount: the part of them to remove, above 0 and below 1; 0 where `count` or `numbers` say how many.
        rows: outputs in a block.
        columns: inputs in a block.
        count: layers to remove.
        numbers: which layers to remove, counted from 0.
        text: as the user wrote it.
    """

    kind: Kind
    text: str
    amount: float = 0.0
    rows: int = 1
    columns: int = 1
    count: int = 0
    numbers: tuple[int, ...] = ()


def parse_request(text: str) -> Request:
    """Reads `WHAT:HOW_MUCH`.

    `WHAT` is a block of outputs × inputs ("4x4", "1x4", "32x32", ...; "unstructured" is 1x1), "heads", "ffn" or
    "layers". `HOW_MUCH` is the part to remove, above 0 and below 1. Layers may be counted ("layers:2" removes two) or
    named, from 0, with commas ("layers:1,3"; a single one as "layers:3,").

    Raises:
        InputError: it is nothing of the kind, and what would be.
    """
    if not isinstance(text, str):
        raise InputError(f"what to prune is a text such as {_EXAMPLES}, not {text!r}")
    what, colon, value = (part.strip().lower() for part in text.partition(":"))
    if not colon or not value:
        raise InputError(f"prune {text!r}: say what and how much, such as {_EXAMPLES}")
    if what in ("heads", "ffn"):
        return Request("heads" if what == "heads" else "ffn", text, _share(text, value))
    if what == "layers":
        return _layers(text, value)
    rows, columns = _sides(text, what)
    return Request("blocks", text, _share(text, value), rows, columns)


def parse_requests(texts: Sequence[str]) -> list[Request]:
    """Reads all that is asked for.

    Raises:
        InputError: one cannot be read, or two ask for the same (two kinds of blocks included).
    """
    if isinstance(texts, str):
        texts = [texts]
    requests: list[Request] = []
    for text in texts:
        request = parse_request(text)
        other = next((each for each in requests if each.kind == request.kind), None)
        if other is not None:
            raise InputError(f"prune {text!r} and {other.text!r}: ask for {request.kind} once")
        requests.append(request)
    return requests


def _share(text: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        hint = f" (for {value}%, write {float(value) / 100:g})" if 1 <= share < 100 else ""
        raise InputError(f"prune {text!r}: the part to remove is a number above 0 and below 1, not {value!r}{hint}")
    return share


def _layers(text: str, value: str) -> Request:
    if "," in value:
        words = [word.strip() for word in value.split(",") if word.strip()]
        if not words or not all(word.isascii() and word.isdigit() for word in words):
            raise InputError(f"prune {text!r}: layers are named by their numbers from 0, such as layers:1,3")
        numbers = tuple(sorted({int(word) for word in words}))
        return Request("layers", text, numbers=numbers)
    if value.isascii() and value.isdigit() and int(value):
        return Request("layers", text, count=int(value))
    return Request("layers", text, _share(text, value))


def _sides(text: str, what: str) -> tuple[int, int]:
    if what == "unstructured":
        return 1, 1
    match = _BLOCKS.fullmatch(what)
    if match is None:
        raise InputError(
            f"prune {text!r}: {what!r} is no block of outputs x inputs and none of unstructured, heads, ffn, layers; "
            f"write something such as {_EXAMPLES}"
        )
    rows, columns = int(match[1]), int(match[2])
    if rows not in SIDES or columns not in SIDES:
        raise InputError(f"prune {text!r}: the sides of a block are one of {', '.join(map(str, SIDES))}")
    return rows, columns
