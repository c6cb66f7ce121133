"""What callers say about reading texts, checked; and what a task says about the tokens that it looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np

from minibert import options
from minibert.text.packing import BATCH_SIZE, MAX_TOKENS
from minibert.text.sliding import Window
from minibert.text.tokenizer import Tokenizer
from minibert.tuples import NamedTuple

Item = TypeVar("Item", bound="str | tuple[str | None, ...]")
Found = TypeVar("Found")

#: What transformers calls the ways to cut: whether a text is cut, and whether of a pair only the first one is.
_WAYS_TO_CUT = {"longest_first": (True, False), "only_first": (True, True), "do_not_truncate": (False, False)}


class CutOptions(TypedDict, total=False):
    """How texts are cut, and how many of their tokens are read at once: see `Limits`."""

    truncation: bool | str
    max_length: int | None
    max_tokens: int


class ReadOptions(CutOptions, total=False):
    """How texts are cut and batched, in every method that reads text: see `Limits`."""

    batch_size: int


class Limits(NamedTuple):
    """How texts are cut and batched; `checked_limits` makes one.

    Attributes:
        truncation: whether a text longer than `max_length` is cut, with a TruncationWarning; False refuses it. Callers
            may also say "longest_first", "only_first" or "do_not_truncate", as transformers does.
        max_length: tokens to read of each text or pair, special tokens included; None for the model's own limit.
        batch_size: texts in one pass through the engine, at most. Changes speed and memory, never a result.
        max_tokens: tokens in one pass, at most, unless one text alone has more.
        only_first: whether of a pair that is too long only the first text gives way, rather than the longer one; what
            `truncation` says for callers.
        windows: whether a text longer than `max_length` is read whole, in windows of that length, and its row is the
            average of theirs. Nothing is cut then, so `truncation` says nothing. For tasks of one row a text.
    """

    truncation: bool = True
    max_length: int | None = None
    batch_size: int = BATCH_SIZE
    max_tokens: int = MAX_TOKENS
    only_first: bool = False
    windows: bool = False


def checked_limits(given: Mapping[str, Any], known: type = ReadOptions) -> Limits:
    """Limits out of ReadOptions, as a caller gave them.

    Args:
        given: the options.
        known: a TypedDict of all options of the method that asks, for the nearest name to a misspelt one.

    Raises:
        InputError: there is no such option, or a value makes no sense.
    """
    checked = options.own(given, known.__annotations__)
    for name in ("batch_size", "max_tokens"):
        if name in checked:
            checked[name] = options.integer(name, checked[name])
    if "truncation" in checked:
        checked["truncation"], checked["only_first"] = _truncation(checked["truncation"])
    if checked.get("max_length") is not None:
        checked["max_length"] = options.integer("max_length", checked["max_length"])
    return Limits(**checked)


def _truncation(value: Any) -> tuple[bool, bool]:
    """Whether texts are cut, and whether of pairs only the first one is."""
    if isinstance(value, str):
        return _WAYS_TO_CUT[options.choice("truncation", value, _WAYS_TO_CUT)]
    return options.flag("truncation", value), False


class Reader(ABC, Generic[Item, Found]):
    """A task that looks at the rows of tokens, with its options: what it makes of items, windows and rows."""

    @abstractmethod
    def check(self, item: Any, index: int) -> Item:
        """An item as a caller gave it, checked: a text or a tuple; raises InputError naming `index` if it is none."""

    def characters(self, item: Item) -> int:
        """Characters to read."""
        return len(item) if isinstance(item, str) else sum(len(text or "") for text in item)

    @abstractmethod
    def windows(self, tokenizer: Tokenizer, item: Item, max_length: int) -> tuple[list[Window], bool]:
        """What the model reads of an item, and whether that is less than all of it."""

    def wanted(self, window: Window) -> Sequence[int]:
        """Rising places of the tokens whose rows `find` looks at: all, unless a task says otherwise."""
        return range(len(window.ids))

    @abstractmethod
    def find(self, window: Window, rows: np.ndarray) -> Found:
        """What there is to keep of those rows, float32 [wanted, outputs], which are gone afterwards."""

    @abstractmethod
    def answer(self, item: Item, found: list[tuple[Window, Found]]) -> Any:
        """The answer, from all windows of an item."""
