"""Frozen dataclasses that cost nothing to define, and are read out of JSON by what each field says it takes.

`dataclass(frozen=True)` compiles half a dozen methods for each class, whenever it is imported: 2 ms of every start on a
Raspberry Pi 4. Records share theirs. `fields`, `replace` and `asdict` of dataclasses work as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from minibert.errors import FormatError
from minibert.format.values import Read, shown, wrong

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Any:
        """What tells type checkers that a decorator makes dataclasses."""
        return lambda decorator: decorator


_T = TypeVar("_T")


def key(read: Read[Any], *, default: Any = MISSING, default_factory: Any = MISSING, written: bool = True) -> Any:
    """A field that is a key of a JSON object; the key may be missing if there is a default.

    `written` false leaves it out of what is written while it has its default: files that don't need the key have the
    bytes that they had before there was one, and older releases read them.
    """
    return field(default=default, default_factory=default_factory, metadata={"read": read, "written": written})


class FromJson:
    """A record that is a JSON object: its fields are made by `key`."""

    @classmethod
    def from_json(cls, value: Any, where: str) -> Self:
        """Read and check the object, every key accounted for; raises FormatError naming the key that is wrong."""
        if type(value) is not dict:
            raise wrong(where, "an object", value)
        rest, read = value.copy(), {}
        for each in fields(cls):  # pyright: ignore[reportArgumentType]
            if each.name in rest:
                read[each.name] = each.metadata["read"](rest.pop(each.name), f"{where}.{each.name}")
            elif each.default is MISSING and each.default_factory is MISSING:
                raise FormatError(f"{where}.{each.name} is missing")
        if rest:  # it would mean something that this release doesn't do
            raise FormatError(f"{where} holds the key {shown(next(iter(rest)))}, unknown to this release")
        made = cls(**read)
        made.check(where)
        return made

    def check(self, where: str) -> None:
        """Refuse values that are each right, but not together."""


def as_json(value: Any) -> Any:
    """A record, and all that is in it, as plain JSON values: what `from_json` turns back into it."""
    if hasattr(value, "__dataclass_fields__"):
        values = {key: getattr(value, key.name) for key in fields(value)}
        return {
            key.name: as_json(item) for key, item in values.items() if key.metadata["written"] or item != key.default
        }
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value


@dataclass_transform(frozen_default=True, field_specifiers=(field, key))
def record(cls: type[_T]) -> type[_T]:
    """As dataclass(frozen=True), for classes without __post_init__."""
    made = dataclass(init=False, repr=False, eq=False)(cls)
    for name in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
        setattr(made, name, vars(_Methods)[name])
    return made


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__dataclass_fields__])


class _Methods:
    """What all records have in common."""

    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        keys = fields(self)
        if len(positional) > len(keys):
            raise TypeError(f"{type(self).__name__} takes {len(keys)} values, got {len(positional)}")
        values = dict(zip([key.name for key in keys], positional, strict=False))
        if twice := values.keys() & named.keys():
            raise TypeError(f"{type(self).__name__} got {', '.join(sorted(twice))} twice")
        values.update(named)
        own = self.__dict__
        for key in keys:
            if key.name in values:
                own[key.name] = values.pop(key.name)
            elif key.default is not MISSING:
                own[key.name] = key.default
            elif key.default_factory is not MISSING:
                own[key.name] = key.default_factory()
            else:
                raise TypeError(f"{type(self).__name__} lacks {key.name}")
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(values))}")

    def __repr__(self: Any) -> str:
        shown = ", ".join(
            f"{name}={value!r}" for name, value in zip(self.__dataclass_fields__, _values(self), strict=True)
        )
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self: Any, other: object) -> Any:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(_values(self))

    def __setattr__(self: Any, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
