"""Options of a recipe's tables, each declared once, as a field of a frozen dataclass.

    method: Method = option(choice(*get_args(Method)), "what is removed", "second-order", flag="--prune-method")

From there come reading and checking a table, writing it, the flag of `minibert convert` and the argument of `convert()`
of the same name, and the tables of the documents.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, TypeVar

from minibert.errors import InputError
from minibert.format.values import described, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Type:
    """What values an option takes.

    Attributes:
        says: what a value must be, for messages and documents: "a number from 0 to 1".
        accept: what a pass gets for a value of a table, or None if it is none of these; also told where the value
            stands, for messages about the parts of one.
        argument: what argparse is told.
        table: of an option that is a table itself, the dataclass of its options.
    """

    says: str
    accept: Callable[[Any, str], Any]
    argument: Mapping[str, Any] = field(default_factory=dict)
    table: type | None = None

    def read(self, value: Any, where: str) -> Any:
        """What a pass gets.

        Raises:
            InputError: the value is none of these.
        """
        accepted = self.accept(value, where)
        if accepted is None:
            raise InputError(f"{where} must be {self.says}, not {described(value)}")
        return accepted


def integer(low: int, high: int) -> Type:
    """Whole numbers; true and 1.0 are none."""
    return Type(
        f"a whole number from {low} to {high}",
        lambda value, _: value if type(value) is int and low <= value <= high else None,
        {"type": int},
    )


def number(low: float, high: float, *, above: bool = False) -> Type:
    """Numbers; with `above`, `low` itself is none."""

    def accept(value: Any, _: str) -> float | None:
        fits = type(value) in (int, float) and low <= value <= high and not (above and value == low)
        return float(value) if fits else None

    says = f"a number above {low} and up to {high}" if above else f"a number from {low} to {high}"
    return Type(says, accept, {"type": float})


def choice(*names: str) -> Type:
    """A few strings."""
    says = f"one of {', '.join(names)}"
    return Type(says, lambda value, _: value if type(value) is str and value in names else None, {"choices": names})


def array(item: Type, least: int, most: int) -> Type:
    """Arrays of so many items; on a command line with commas between them."""

    def accept(value: Any, where: str) -> tuple[Any, ...] | None:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            return None
        return tuple([item.read(each, f"{where}[{index}]") for index, each in enumerate(value)])

    def items(text: str) -> tuple[Any, ...]:
        return tuple([item.argument["type"](each) for each in text.split(",")])

    return Type(f"an array of {least} to {most} items, each {item.says}", accept, {"type": items})


def mapping(item: Type) -> Type:
    """Tables whose keys are free."""

    def accept(value: Any, where: str) -> dict[str, Any] | None:
        if not isinstance(value, Mapping):
            return None
        return {key: item.read(each, f"{where}[{shown(key)}]") for key, each in value.items()}

    return Type(f"a table of values, each {item.says}", accept)


def table(kind: type) -> Type:
    """Tables with the options of a dataclass."""
    return Type("a table", lambda value, where: read_table(kind, value, where), table=kind)


def _texts(value: Any, _: str) -> tuple[str, ...] | None:
    texts = (value,) if isinstance(value, str) else value
    return tuple(texts) if isinstance(texts, (list, tuple)) and all(isinstance(each, str) for each in texts) else None


SHARE = number(0, 1)
BOOLEAN = Type("true or false", lambda value, _: value if type(value) is bool else None)
SWITCH = replace(BOOLEAN, argument={"action": "store_const", "const": True})
TEXT = Type("a string", lambda value, _: value if type(value) is str else None)
TEXTS = Type("a string or an array of strings", _texts, {"action": "append"})
FILE = Type("a file", lambda value, _: os.fspath(value) if isinstance(value, (str, os.PathLike)) else None)


@dataclass(frozen=True)
class Option:
    """One key of a table.

    Attributes:
        type: of its values.
        help: what it says, without a full stop.
        default: its value where the key is missing; MISSING if it must be there.
        key: how tables call it; as the field if empty.
        check: refuses values with an InputError.
        flag: of `minibert convert`, such as "--prune-method"; none if empty.
        metavar: what the flag's help calls the value.
        alone: what the flag stands for without a value; None if it needs one.
        off: the word that leaves out the pass, which without the flag is there as by default; "" if it isn't.
        searched: the word of the flag that has a search choose the value; "" if there is none.
    """

    type: Type
    help: str
    default: Any = MISSING
    key: str = ""
    check: Callable[[Any], Any] | None = None
    flag: str = ""
    metavar: str | None = None
    alone: Any = None
    off: str = ""
    searched: str = ""

    @property
    def keyword(self) -> str:
        """The flag as an argument of a function."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def shown_default(self) -> str:
        """The default where there is one that says something, as a recipe has it."""
        if isinstance(self.default, str):
            return self.default
        return json.dumps(self.default) if isinstance(self.default, (bool, int, float)) else ""

    @property
    def argument(self) -> dict[str, Any]:
        """What argparse is told of the flag."""
        told = {"help": self.help + (f" (default: {self.shown_default})" if self.shown_default else "")}
        more: dict[str, Any] = {} if self.alone is None else {"nargs": "?", "const": self.alone}
        if self.off:
            more["choices"] = (*self.type.argument["choices"], self.off)
        if self.searched:
            more["choices"] = (*more.get("choices", self.type.argument["choices"]), self.searched)
        return {**self.type.argument, **told, "metavar": self.metavar, **more}

    def read(self, value: Any, where: str) -> Any:
        """The value of the option.

        Raises:
            InputError: it is of another type, or makes no sense.
        """
        value = self.type.read(value, where)
        if self.check is not None:
            _naming(where, self.check, value)
        return value


def option(type: Type, help: str, default: Any = MISSING, **more: Any) -> Any:
    """A field of a dataclass that is an option; see `Option`."""
    metadata = {"option": Option(type, help, default, **more)}
    if default == {}:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def options(kind: type) -> dict[str, Option]:
    """The options of a dataclass, by field."""
    found = {each.name: each.metadata.get("option") for each in fields(kind)}
    return {name: one if one.key else replace(one, key=name) for name, one in found.items() if one is not None}


def read_table(kind: type[T], value: Any, where: str, **more: Any) -> T:
    """The dataclass that a table stands for.

    Args:
        kind: the dataclass.
        value: the table, as JSON or TOML gives it.
        where: what it is called in messages.
        more: fields that are no options.

    Raises:
        InputError: a key is missing, unknown, of the wrong type or makes no sense; the message names it.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a table, not {described(value)}")
    known = {one.key: (name, one) for name, one in options(kind).items()}
    for key in value:
        if key not in known:
            raise InputError(f"{where} holds the unknown key {shown(key)}; there are: {', '.join(known)}")
    for key, (_, one) in known.items():
        if key not in value and one.default is MISSING:
            raise InputError(f"{where}.{key} is missing")
    read = {known[key][0]: known[key][1].read(each, f"{where}.{key}") for key, each in value.items()}
    return _naming(where, kind, **read, **more)


def write_table(value: Any, always: str = "") -> dict[str, Any]:
    """The table that `read_table` makes this value of, as plain JSON values.

    Args:
        value: of a dataclass of options.
        always: the key that stays though its value is the default.
    """
    table = {}
    for name, one in options(type(value)).items():
        held = getattr(value, name)
        if held != one.default or one.key == always:
            table[one.key] = _plain(held)
    return table


def rows(kind: type, within: str = "") -> Iterator[tuple[str, Option]]:
    """All options of a dataclass by key, each followed by those of a table that it is: "loss", "loss.logits", ..."""
    for one in options(kind).values():
        yield within + one.key, one
        if one.type.table is not None:
            yield from rows(one.type.table, f"{within}{one.key}.")


def _naming(where: str, call: Callable[..., T], *values: Any, **named: Any) -> T:
    """Calls a function, and says where the value stands that it refuses."""
    try:
        return call(*values, **named)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return write_table(value)
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
