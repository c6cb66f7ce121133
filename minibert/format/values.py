"""Strict reading of JSON: one object at a time, every key accounted for, every value of the right type and size.

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

#: Stands for the default of a key that has none.
REQUIRED: Any = object()


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


class Fields:
    """The keys of one JSON object, taken one by one; `end` refuses those that nobody took.

    Every method that takes a key raises FormatError, naming the key, if it is missing (and has no default) or its
    value is not what the method promises.
    """

    __slots__ = ("_rest", "_where")

    def __init__(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise FormatError(f"{where} must be an object, not {described(value)}")
        self._rest: dict[str, Any] = value.copy()
        self._where = where

    def take(self, name: str, default: Any = REQUIRED) -> Any:
        """The value of a key, of any type."""
        value = self._rest.pop(name, default)
        if value is REQUIRED:
            raise FormatError(f"{self._where}.{name} is missing")
        return value

    def integer(self, name: str, low: int, high: int, default: Any = REQUIRED) -> int:
        """A whole number in `[low, high]`; true and 1.0 are not whole numbers."""
        value = self.take(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self._error(name, f"a whole number from {low} to {high}", value)
        return value

    def number(self, name: str, above: float, high: float, default: Any = REQUIRED) -> float:
        """A finite number in `(above, high]`, or the default."""
        value = self.take(name, default)
        if type(value) not in (int, float) or not (above < value <= high or value == default):
            raise self._error(name, f"a number above {above} and up to {high}", value)
        return float(value)

    def boolean(self, name: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self.take(name, default)
        if type(value) is not bool:
            raise self._error(name, "true or false", value)
        return value

    def text(self, name: str, default: Any = REQUIRED) -> str:
        """A string."""
        value = self.take(name, default)
        if type(value) is not str:
            raise self._error(name, "a string", value)
        return value

    def choice(self, name: str, choices: Sequence[str], default: Any = REQUIRED) -> Any:
        """One of a few strings."""
        value = self.take(name, default)
        if type(value) is not str or value not in choices:
            raise self._error(name, "one of " + ", ".join(choices), value)
        return value

    def items(
        self, name: str, read: Callable[[Any, str], T], least: int, most: int, default: Any = REQUIRED
    ) -> tuple[T, ...]:
        """An array of `least` to `most` items, each read by `read(value, where)`."""
        value = self.take(name, default)
        if type(value) is not list or not least <= len(value) <= most:
            raise self._error(name, f"an array of {least} to {most} items", value)
        where = f"{self._where}.{name}"
        return tuple([read(item, f"{where}[{index}]") for index, item in enumerate(value)])

    def mapping(self, name: str, read: Callable[[Any, str], T], default: Any = REQUIRED) -> dict[str, T]:
        """An object whose keys are free, each value read by `read(value, where)`."""
        value = self.take(name, default)
        if type(value) is not dict:
            raise self._error(name, "an object", value)
        where = f"{self._where}.{name}"
        return {key: read(item, f"{where}[{shown(key)}]") for key, item in value.items()}

    def end(self) -> None:
        """Refuse the keys that nobody took: they would mean something that this release doesn't do."""
        if self._rest:
            raise FormatError(f"{self._where} holds the key {shown(next(iter(self._rest)))}, unknown to this release")

    def _error(self, name: str, expected: str, value: Any) -> FormatError:
        return FormatError(f"{self._where}.{name} must be {expected}, not {described(value)}")


def string(value: Any, where: str) -> str:
    """A string."""
    if type(value) is not str:
        raise FormatError(f"{where} must be a string, not {described(value)}")
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


def described(value: Any) -> str:
    """A value for a message: containers by their type, the rest as they are."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"an array of {len(value)} items"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else shown(value)
