"""Strict reading of a recipe's tables: every key known, every value of the right type."""

from __future__ import annotations

from typing import Any

from minibert.errors import FormatError
from minibert.format.values import REQUIRED, Fields, shown


class Keys(Fields):
    """The keys of one table; what is unknown is refused together with what is known."""

    __slots__ = ("_known",)

    def __init__(self, value: Any, where: str) -> None:
        super().__init__(value, where)
        self._known: list[str] = []

    @property
    def where(self) -> str:
        """What the table is called in messages."""
        return self._where

    def take(self, name: str, default: Any = REQUIRED) -> Any:
        """The value of a key, of any type."""
        self._known.append(name)
        return super().take(name, default)

    def texts(self, name: str, default: Any = REQUIRED) -> tuple[str, ...]:
        """A string, or an array of them."""
        value = self.take(name, default)
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, (list, tuple)) or not all(isinstance(each, str) for each in texts):
            raise self._error(name, "a string or an array of strings", value)
        return tuple(texts)

    def share(self, name: str, default: Any = REQUIRED) -> float:
        """A number from 0 to 1."""
        value = self.take(name, default)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise self._error(name, "a number from 0 to 1", value)
        return float(value)

    def shares(self, name: str) -> tuple[float, ...]:
        """An array of numbers from 0 to 1."""
        value = self.take(name)
        parts = value if isinstance(value, (list, tuple)) else ()
        if not parts or not all(type(each) in (int, float) and 0 <= each <= 1 for each in parts):
            raise self._error(name, "an array of numbers from 0 to 1", value)
        return tuple(map(float, parts))

    def end(self) -> None:
        """Refuse the keys that nobody took."""
        if self._rest:
            known = ", ".join(self._known)
            raise FormatError(
                f"{self._where} holds the unknown key {shown(next(iter(self._rest)))}; there are: {known}"
            )


def whole(value: Any, where: str) -> int:
    """A whole number of an array."""
    if type(value) is not int:
        raise FormatError(f"{where} must be a whole number, got {shown(value)}")
    return value
