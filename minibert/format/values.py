"""Strict reading of JSON: every value of the right type and size; see record.py for objects and their keys.

The JSON of a model file was written by anybody. What is read here is checked once, where it is read, so that the rest
of minibert can rely on the types that its dataclasses declare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from minibert.errors import FormatError

T = TypeVar("T")

#: Digits of a number. 2**63 has 19; a float64 never needs more than 17 beside its sign, point and exponent.
MAX_NUMBER_LENGTH = 40
#: Levels of arrays and objects within one another in the free-form parts: far below Python's recursion limit.
MAX_DEPTH = 32


def parse_json(text: str, what: str) -> Any:
    """Parse JSON as RFC 8259 has it, without Python's liberties (NaN, Infinity, the same key twice).

    Args:
        text: the JSON text.
        what: what it is, for the message.

    Raises:
        FormatError: if it is not JSON, repeats a key, or holds a number or a text that cannot be represented.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_object,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        )
        if "\\ud" in text or "\\uD" in text:  # an escaped surrogate: only half of a pair is no text
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise FormatError(f"{what} nests too many arrays or objects within one another") from None
    except ValueError as error:  # JSONDecodeError and UnicodeEncodeError are ValueErrors too
        raise FormatError(f"{what} is not valid JSON: {error}") from None
    return value


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        last = {name: place for place, (name, _) in enumerate(pairs)}
        again = next(name for place, (name, _) in enumerate(pairs) if last[name] != place)
        raise ValueError(f"the key {shown(again)} appears twice")
    return value


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_LENGTH:  # int() of many digits takes quadratic time
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(digits)} is too large")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def shown(value: object, limit: int = 60) -> str:
    """`value` for an error message: strings quoted, escaped, and cut where a hostile file would flood the screen."""
    if not isinstance(value, str):
        return repr(value)
    return repr(value[:limit]) + ("..." if len(value) > limit else "")


#: What a key's value says, given the value and where it stands; raises FormatError if it isn't what it must be.
Read = Callable[[Any, str], T]


def integer(low: int, high: int) -> Read[int]:
    """Whole numbers in `[low, high]`; true and 1.0 are not whole numbers."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise wrong(where, f"a whole number from {low} to {high}", value)
        return value

    return read


def number(above: float, high: float, *, also: float | None = None) -> Read[float]:
    """Finite numbers in `(above, high]`, and perhaps one beside them."""

    def read(value: Any, where: str) -> float:
        if type(value) not in (int, float) or not (above < value <= high or value == also):
            raise wrong(where, f"a number above {above} and up to {high}", value)
        return float(value)

    return read


def choice(choices: Sequence[str]) -> Read[Any]:
    """One of a few strings."""

    def read(value: Any, where: str) -> str:
        if type(value) is not str or value not in choices:
            raise wrong(where, "one of " + ", ".join(choices), value)
        return value

    return read


def items(read_item: Read[T], least: int, most: int) -> Read[tuple[T, ...]]:
    """Arrays of `least` to `most` items."""

    def read(value: Any, where: str) -> tuple[T, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise wrong(where, f"an array of {least} to {most} items", value)
        return tuple([read_item(item, f"{where}[{index}]") for index, item in enumerate(value)])

    return read


def optional(read: Read[T]) -> Read[T | None]:
    """What `read` takes, or null."""
    return lambda value, where: None if value is None else read(value, where)


def mapping(read_item: Read[T]) -> Read[dict[str, T]]:
    """Objects whose keys are free."""

    def read(value: Any, where: str) -> dict[str, T]:
        if type(value) is not dict:
            raise wrong(where, "an object", value)
        return {key: read_item(item, f"{where}[{shown(key)}]") for key, item in value.items()}

    return read


def boolean(value: Any, where: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise wrong(where, "true or false", value)
    return value


def string(value: Any, where: str) -> str:
    """A string."""
    if type(value) is not str:
        raise wrong(where, "a string", value)
    return value


def free_form(value: Any, where: str, depth: int = 0) -> Any:
    """Any JSON value that is not nested too deep to be printed or copied."""
    if depth > MAX_DEPTH:
        raise FormatError(f"{where.partition('[')[0]} nests more than {MAX_DEPTH} arrays or objects")
    if type(value) is dict:
        for item in value.values():
            if type(item) is dict or type(item) is list:
                free_form(item, where, depth + 1)
    elif type(value) is list:
        for item in value:
            if type(item) is dict or type(item) is list:
                free_form(item, where, depth + 1)
    return value


def wrong(where: str, expected: str, value: Any) -> FormatError:
    """What is said of a value that isn't what it must be."""
    return FormatError(f"{where} must be {expected}, not {described(value)}")


def described(value: Any) -> str:
    """A value for a message: containers by their type, the rest as they are."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"an array of {len(value)} items"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else shown(value)
