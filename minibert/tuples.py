"""`NamedTuple` that costs little to define, by the declaration that type checkers know.

typing's own compiles the text of each field's type and a constructor whenever the class is imported: for the tuples of
this package that is a twentieth of a start. Here types are left to type checkers, the methods are shared, and a class
gets its constructor with its first tuple.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    try:
        from _collections import _tuplegetter as _getter  # what collections.namedtuple has, written in C
    except ImportError:

        def _getter(index: int, doc: str) -> property:
            return property(itemgetter(index), doc=doc)

    class _Named(tuple):
        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - as collections.namedtuple has it

        def __new__(cls, *values: Any, **named: Any) -> Any:
            """The first tuple of a class; `_constructor` makes the others."""
            cls.__new__ = _constructor(cls._fields, cls._field_defaults)
            return cls(*values, **named)

        @classmethod
        def _make(cls, values: Any) -> Any:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **named: Any) -> Any:
            made = self._make(map(named.pop, self._fields, self))
            if named:
                raise ValueError(f"Got unexpected field names: {list(named)!r}")
            return made

        __replace__ = _replace

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

    def _constructor(fields: tuple[str, ...], defaults: dict[str, Any]) -> Any:
        """`__new__` for a class of these fields."""
        code = f"lambda cls, {', '.join(fields)}: new(cls, ({''.join(f'{name}, ' for name in fields)}))"
        made = eval(code, {"new": tuple.__new__})
        made.__name__, made.__defaults__ = "__new__", tuple(defaults.values())
        return staticmethod(made)

    class _Declared(type):
        """Makes a class of tuples out of one that declares their fields."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body["__annotations__"])
            defaults = {field: body.pop(field) for field in fields if field in body}
            getters = {field: _getter(index, field) for index, field in enumerate(fields)}
            own = {"__slots__": (), "_fields": fields, "_field_defaults": defaults, "__match_args__": fields}
            return type(name, (_Named,), {**body, **getters, **own})

    class NamedTuple(metaclass=_Declared):
        """As typing.NamedTuple. What a class that derives from it becomes does not: it is a tuple."""
