"""Fields of a request's body, checked: a value of the right type comes out, or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from reprlib import repr as shown
from typing import Any, TypeVar

from minibert.serve.refusals import WrongField

Body = Mapping[str, Any]
T = TypeVar("T")
D = TypeVar("D")


def _of(kind: type[T], what: str, body: Body, name: str, default: D) -> T | D:
    """A value of a type, or what is there where none is given; null counts as none."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise WrongField(f"{name} must be {what}, got {shown(value)}", name)
    return value


def text(body: Body, name: str, default: str | None = None) -> str | None:
    """A text."""
    return _of(str, "a string", body, name, default)


def needed_text(body: Body, name: str) -> str:
    """A text that must be given."""
    value = text(body, name)
    if value is None:
        raise WrongField(f"{name} is missing: it must be a string", name)
    return value


def flag(body: Body, name: str, default: bool) -> bool:
    """True or false."""
    return _of(bool, "true or false", body, name, default)


def whole(body: Body, name: str, least: int, most: int) -> int | None:
    """A whole number from `least` to `most`, or None where none is given."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise WrongField(f"{name} must be a whole number from {least} to {most}, got {shown(value)}", name)
    return value


def choice(body: Body, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
    """One of some words."""
    value = text(body, name, default)
    if value is not None and value not in choices:
        raise WrongField(f"{name} must be one of {', '.join(choices)}, got {shown(value)}", name)
    return value


def texts(body: Body, name: str) -> tuple[list[str], bool]:
    """One text or a list of texts; and whether it was one."""
    value = _given(body, name)
    if isinstance(value, str):
        return [value], True
    if not isinstance(value, list) or not value:
        raise WrongField(f"{name} must be a string, or a list of at least one string, got {shown(value)}", name)
    for place, each in enumerate(value):
        if not isinstance(each, str):
            raise WrongField(f"{name} must hold strings, got {shown(each)} at index {place}", name)
    return value, False


def texts_or_tokens(body: Body, name: str) -> list[Any]:
    """A text, texts, the token ids of a text, or those of texts: as a list of texts or of lists of ids."""
    value = _given(body, name)
    if isinstance(value, list) and value and not isinstance(value[0], str):
        many = value if isinstance(value[0], list) else [value]
        for place, each in enumerate(many):
            if not isinstance(each, list) or not each or any(type(id) is not int for id in each):
                raise WrongField(f"{name} must hold lists of token ids, got {shown(each)} at index {place}", name)
        return many
    return texts(body, name)[0]


def documents(body: Body, name: str) -> list[str]:
    """Documents, each a string or an object with "text"."""
    value = _given(body, name)
    if not isinstance(value, list) or not value:
        raise WrongField(f"{name} must be a list of at least one document, got {shown(value)}", name)
    found = []
    for place, each in enumerate(value):
        given = each.get("text") if isinstance(each, dict) else each
        if not isinstance(given, str):
            raise WrongField(f'{name} must hold strings or {{"text": ...}}, got {shown(each)} at index {place}', name)
        found.append(given)
    return found


def pairs(value: Any, name: str) -> list[tuple[str, str | None]]:
    """Texts and pairs of texts: each a string, a list of one or two, or {"text": ..., "text_pair": ...}."""
    found: list[tuple[str, str | None]] = []
    for place, each in enumerate(value):
        given = each
        if isinstance(each, dict) and set(each) <= {"text", "text_pair"}:
            given = [each.get("text"), *([each["text_pair"]] if each.get("text_pair") is not None else [])]
        parts = [given] if isinstance(given, str) else given
        if not isinstance(parts, list) or len(parts) not in (1, 2) or any(not isinstance(part, str) for part in parts):
            raise WrongField(f"{name} must hold strings or pairs of strings, got {shown(each)} at index {place}", name)
        found.append((parts[0], parts[1] if len(parts) == 2 else None))
    return found


#: What clients send along that changes no answer: who asks, and how urgent it is.
HARMLESS = frozenset({"user", "priority"})


def known(body: Body, names: Collection[str]) -> None:
    """Refuse fields that there are not, as they might change the answer elsewhere; null asks for nothing."""
    for name, value in body.items():
        if name not in names and name not in HARMLESS and value is not None:
            raise WrongField(f"there is no field {shown(name)}: there are {', '.join(names)}", name)


def _given(body: Body, name: str) -> Any:
    if body.get(name) is None:
        raise WrongField(f"{name} is missing", name)
    return body[name]
