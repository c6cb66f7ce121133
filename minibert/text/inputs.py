"""What callers may pass as text, told apart once: one text or many, single or pair.

One text is a `str`, a tuple `(text, text_pair)` or a mapping `{"text": ..., "text_pair": ...}`; anything else that can
be iterated is many of them. One text in gives one answer out, many give a list: whatever the other options say. Two
methods read tuples and lists as their twins in sentence-transformers do: to `encode` a tuple is many texts, and to
`score` a list of two texts is one pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from reprlib import repr as shown
from typing import Any, TypeAlias, TypeVar

from minibert.errors import InputError

#: One text, or one pair of texts.
Text: TypeAlias = "str | tuple[str, str] | Mapping[str, str]"

Item = TypeVar("Item")

#: A portion of a long input also ends once it holds this many characters, so that memory stays bounded.
PORTION_CHARACTERS = 1 << 22


def is_one(inputs: object, *, pair: bool = True) -> bool:
    """Whether `inputs` is one text (or one pair) rather than many; `pair`: whether a tuple is a pair."""
    return isinstance(inputs, (str, tuple, Mapping) if pair else (str, Mapping))


def many(inputs: Any, *, pair: bool = True) -> Iterable[Any]:
    """`inputs` as something to iterate over; `pair`: whether a tuple is a pair, and so is not many.

    Raises:
        InputError: it is one text, or holds texts in no order, in columns, or not at all.
    """
    kind = type(inputs).__name__
    if is_one(inputs, pair=pair):
        raise InputError(f"this reads many texts, got one {kind}: put it into a list, as in [text]")
    if isinstance(inputs, (set, frozenset)):
        raise InputError(f"texts must have an order for their answers, and a {kind} has none: give a list")
    if hasattr(type(inputs), "columns") or hasattr(type(inputs), "column_names"):  # a LazyFrame has to work for them
        raise InputError(
            f'a {kind} has columns: give the one that holds the texts, as in df["text"]; of pairs '
            'list(zip(df["text"], df["text_pair"]))'
        )
    if isinstance(inputs, (bytes, bytearray, memoryview)) or not isinstance(inputs, Iterable):
        raise _wrong(inputs, "")
    return _listed(inputs)


def flat_pair(inputs: Any) -> Any:
    """`inputs`, or the pair that a list or array of exactly two texts is to CrossEncoder.predict."""
    items = _listed(inputs)
    if isinstance(items, list) and len(items) == 2 and all(isinstance(each, str) for each in items):
        return tuple(items)
    return inputs


def _listed(inputs: Any) -> Any:
    """An array or a column as a list, lists of two for rows of two; anything else as it is."""
    if isinstance(inputs, (bytes, bytearray, memoryview)) or not hasattr(inputs, "tolist"):
        return inputs
    items = inputs.tolist()
    if not isinstance(items, list):
        raise InputError("an array without dimensions is no list of texts: give its .item()")
    return items


def split(item: Any, index: int | None = None) -> tuple[str, str | None]:
    """The text and, if there is one, its pair.

    Args:
        item: one text or pair; inside a list a pair may also be a list of two strings.
        index: its place in the list, for the error message.

    Raises:
        InputError: if it is anything else, such as bytes or None.
    """
    if isinstance(item, str):
        return item, None
    where = "" if index is None else f" at index {index}"
    if isinstance(item, Mapping):
        unknown = sorted(str(key) for key in item if key not in ("text", "text_pair"))
        if "text" not in item or unknown:
            raise InputError(f'a mapping{where} must have "text" and may have "text_pair", got {shown(list(item))}')
        text, pair = item["text"], item.get("text_pair")
        if isinstance(text, str) and (pair is None or isinstance(pair, str)):
            return text, pair
        wrong = pair if isinstance(text, str) else text
        if isinstance(wrong, (list, tuple)):
            raise InputError(f'a mapping{where} is one text: for a column of texts give the column, as in data["text"]')
        raise _wrong(wrong, where)
    if isinstance(item, (tuple, list)):
        if len(item) != 2:
            kind = type(item).__name__
            raise InputError(
                f"a {kind} of {len(item)}{where} is not a pair (text, text_pair); give several texts as a flat list"
            )
        for part in item:
            if not isinstance(part, str):
                raise _wrong(part, where)
        return item[0], item[1]
    raise _wrong(item, where)


def single(item: Any, index: int, reader: str) -> str:
    """A text that is no pair.

    Args:
        item: one text.
        index: its place in the list, for the error message.
        reader: what reads it, for the error message.

    Raises:
        InputError: it is a pair, or no text.
    """
    text, pair = split(item, index)
    if pair is not None:
        raise InputError(f"text {index} is a pair, but {reader} reads single texts")
    return text


def text_portions(
    items: Iterable[Any], size: int, prefix: str = "", reader: str | None = None
) -> Iterator[list[tuple[str, str | None]]]:
    """The texts of `items` in order, in lists of at most `size`: `portions` of texts and pairs.

    Args:
        items: texts and pairs.
        size: texts in a portion, at most.
        prefix: what to put before each text.
        reader: what reads no pairs, for the error message; None where they are read.
    """

    def check(item: Any, index: int) -> tuple[str, str | None]:
        text, pair = split(item, index) if reader is None else (single(item, index, reader), None)
        return prefix + text, pair

    return portions(items, check, _characters, size)


def portions(
    items: Iterable[Any], check: Callable[[Any, int], Item], characters: Callable[[Item], int], size: int
) -> Iterator[list[Item]]:
    """The items in order, checked, in lists of at most `size` and of about PORTION_CHARACTERS at most.

    Lazy: takes no more from `items` than the next list needs. An error in the middle comes after the list of the
    items before it, so that they still get their answers.

    Args:
        items: what a caller gave.
        check: makes of an item and its index what the list holds; raises InputError.
        characters: counts those of a checked item.
        size: items in a list, at most.

    Raises:
        InputError: if an item is none.
    """
    iterator = iter(items)
    index = 0
    while True:
        batch: list[Item] = []
        total = 0
        failure: Exception | None = None
        try:
            for item in islice(iterator, size):
                batch.append(check(item, index))
                index += 1
                total += characters(batch[-1])
                if total >= PORTION_CHARACTERS:
                    break
        except Exception as error:
            failure = error
        if batch:
            yield batch
        if failure is not None:
            raise failure
        if not batch:
            return


def _characters(item: tuple[str, str | None]) -> int:
    text, pair = item
    return len(text) + (len(pair) if pair is not None else 0)


def _wrong(value: object, where: str) -> InputError:
    kind = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)):
        return InputError(f'text must be str, got {kind}{where}: decode it first, as in data.decode("utf-8")')
    if value is None or kind in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return InputError(f"text must be str, got {kind}{where}: a missing value is no text; leave it out, or give ''")
    if hasattr(value, "as_py"):
        return InputError(f"text must be str, got {kind}{where}: convert it first, as in array.to_pylist()")
    return InputError(f"text must be str, a pair of str, or a list of these, got {kind}{where}")
