"""What a tokenizer gives, whoever makes the tokens: the tables of a file, or the tokenizers library."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from minibert.errors import InputError
from minibert.forking import Lazy
from minibert.text.characters import has_surrogates, pieces, places_of, well_formed
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

#: No more of one text than this many characters is ever read: only text without words (a megabyte of one letter)
#: can have fewer tokens than a model takes in so much. What lies behind counts as truncated.
MAX_CHARACTERS = 1 << 20
#: Longer texts are counted in pieces of about this many characters.
PIECE_CHARACTERS = 1 << 16


class TruncationWarning(UserWarning):
    """Some texts had more tokens than the model takes and were answered from their beginning."""


class Encoded(NamedTuple):
    """Token ids of one text or pair.

    Attributes:
        ids: token ids, special tokens included.
        type_ids: one token type for each id, or None when all are 0.
        truncated: whether tokens were cut off.
    """

    ids: list[int]
    type_ids: list[int] | None
    truncated: bool


class Content(NamedTuple):
    """Tokens of one text without special tokens, and where they came from.

    Attributes:
        ids: token ids.
        tokens: what the vocabulary calls them.
        offsets: (start, end) of each token's characters, as indices of the Python string.
        words: number of the word that each token belongs to, by the tokenizer's own idea of a word.
        truncated: whether the text goes on behind them.
    """

    ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    words: list[int | None]
    truncated: bool


class Frame(NamedTuple):
    """The special tokens around a text, or around and between a pair, and the token types of all parts.

    Attributes:
        before: ids of special tokens in front.
        between: ids of special tokens between the texts of a pair.
        after: ids of special tokens behind.
        type_ids: token types of before, the first text, between, the second text, after; None when all are 0.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    type_ids: tuple[list[int], int, list[int], int, list[int]] | None


class TextSettings(NamedTuple):
    """How a model reads texts, beside what its tokenizer says itself.

    Attributes:
        max_length: tokens that `encode` keeps unless told otherwise, special tokens included.
        token_types: rows of the model's token type table; with fewer than two, types are not asked for.
        characters_per_token: as of `TextConfig`.
        ignored_id: as of `TextConfig`; texts are counted with these tokens.
        empty_id: as of `TextConfig`.
    """

    max_length: int
    token_types: int = 2
    characters_per_token: int = 0
    ignored_id: int = -1
    empty_id: int = -1


class Tokenizer(ABC):
    """A model's own tokenizer.

    Unpaired surrogates, which UTF-8 cannot carry, count as U+FFFD, as if the text had been decoded with
    `errors="replace"`; surrogates in pairs count as the character they spell. Safe to call from several threads.

    Args:
        settings: how the model reads texts.
    """

    #: Where tokens come from: "tables" of the file, or the tokenizers "library".
    source: ClassVar[str]

    def __init__(self, settings: TextSettings) -> None:
        self.max_length: int = settings.max_length
        self._characters_per_token = settings.characters_per_token
        self._ignored_id = settings.ignored_id
        self._empty_id = settings.empty_id
        self._pair_types = settings.token_types > 1

    @property
    @abstractmethod
    def library(self) -> Library:
        """The tokenizer as an object of the tokenizers library, which cuts and fills nothing."""

    def encode(
        self, text: str, pair: str | None = None, max_length: int | None = None, only_first: bool = False
    ) -> Encoded:
        """Token ids with special tokens, of at most `max_length`.

        A pair is cut as transformers does by default ("longest_first"): the longer of the two gives way first; or with
        `only_first` the first text alone.

        Raises:
            InputError: if `max_length` leaves no room beside the special tokens, or the second text where it stays.
        """
        return self.encode_many([(text, pair)], max_length, only_first)[0]

    def encode_many(
        self,
        texts: Sequence[tuple[str, str | None]],
        max_length: int | None = None,
        only_first: bool = False,
        *,
        at_once: bool = False,
    ) -> list[Encoded]:
        """`encode` of each of many texts and pairs.

        Args:
            texts: texts, and the second ones of pairs.
            max_length: tokens of each to keep; None for the model's own limit.
            only_first: as of `encode`.
            at_once: faster, by all threads that the tokenizers library has, where it makes the tokens.
        """
        limit = self.max_length if max_length is None else max_length
        most = limit * self._characters_per_token
        if not most or all(len(text) <= most and (pair is None or len(pair) <= most) for text, pair in texts):
            return self._encode_all(texts, limit, only_first, at_once)
        shorter = [(text[:most], None if pair is None else pair[:most]) for text, pair in texts]
        encoded = self._encode_all(shorter, limit, only_first, at_once)
        return [
            each._replace(truncated=True) if given != kept else each
            for each, given, kept in zip(encoded, texts, shorter, strict=True)
        ]

    @abstractmethod
    def _encode_all(
        self, texts: Sequence[tuple[str, str | None]], limit: int, only_first: bool, at_once: bool
    ) -> list[Encoded]:
        """`encode_many`, of texts that are read whole."""

    def _finished(self, ids: list[int], types: list[int] | None, truncated: bool) -> Encoded:
        """What a caller gets: ids without those that are ignored, and at least one where there must be."""
        if self._ignored_id >= 0 and self._ignored_id in ids:
            ids = [id for id in ids if id != self._ignored_id]
        if not ids and self._empty_id >= 0:
            ids = [self._empty_id]
        return Encoded(ids, types, truncated)

    def count(self, text: str, pair: str | None = None) -> int:
        """Tokens of a text or pair with its special tokens, before any truncation."""
        if pair is not None:
            return self.special_tokens(True) + self._own_count(text) + self._own_count(pair)
        return self.special_tokens(False) + self._own_count(text)

    def _own_count(self, text: str) -> int:
        if len(text) <= PIECE_CHARACTERS:
            return self._count(text)
        return sum(self._count(part) for part in pieces(text, PIECE_CHARACTERS, MAX_CHARACTERS))

    @abstractmethod
    def _count(self, text: str) -> int:
        """Tokens of a text that is not too long, without special tokens."""

    @abstractmethod
    def special_tokens(self, pair: bool) -> int:
        """How many special tokens stand around one text or a pair."""

    def prompt_length(self, prompt: str, max_length: int | None = None) -> int:
        """How many of a text's first tokens are those of a prompt before it, as sentence-transformers counts them.

        It counts the tokens of the prompt alone, but for a special token behind them.
        """
        ids = self.encode(prompt, None, max_length).ids
        return len(ids) - self.is_special(ids[-1])

    @abstractmethod
    def is_special(self, id: int) -> bool:
        """Whether a token is a special one."""

    @abstractmethod
    def frame(self, pair: bool) -> Frame:
        """The special tokens around one text or a pair."""

    def content(self, text: str, budget: int | None = None) -> Content:
        """Tokens of a text without special tokens, with the characters that each came from.

        Args:
            text: any text.
            budget: tokens to keep, as truncation does; None for all.
        """
        places = None
        if not text.isascii() and has_surrogates(text):
            text, places = well_formed(text), places_of(text)
        content = self._whole_content(text) if budget is None else self._cut_content(text, budget)
        if places is not None:
            content = content._replace(offsets=[(places[start], places[end]) for start, end in content.offsets])
        return content

    def _whole_content(self, text: str) -> Content:
        """All tokens of a well-formed text.

        A long one is read in pieces, which bounds memory and, in front of white space, changes no token.
        """
        whole = Content([], [], [], [], False)
        start = past = 0
        for piece in pieces(text, PIECE_CHARACTERS, MAX_CHARACTERS) if len(text) > MAX_CHARACTERS else (text,):
            part = self._content(piece)
            whole.ids.extend(part.ids)
            whole.tokens.extend(part.tokens)
            whole.offsets.extend([(first + start, end + start) for first, end in part.offsets])
            whole.words.extend([None if word is None else word + past for word in part.words])
            start += len(piece)
            past = len(whole.words)  # no two pieces have a word of the same number
        return whole

    @abstractmethod
    def _content(self, text: str) -> Content:
        """All tokens of a well-formed text that is not too long."""

    @abstractmethod
    def _cut_content(self, text: str, budget: int) -> Content:
        """Tokens of a well-formed text of which at most `budget` are kept."""

    @Lazy
    def unknown_id(self) -> int | None:
        """Id of the token for what the vocabulary cannot spell; None if it can spell everything."""
        return self._named("[UNK]", "<unk>")

    @Lazy
    def mask_id(self) -> int | None:
        """Id of the token that a fill-mask model replaces."""
        return self._named("[MASK]", "<mask>")

    def _named(self, *names: str) -> int | None:
        return next((id for name in names if (id := self.token_id(name)) is not None), None)

    @property
    @abstractmethod
    def continuing_prefix(self) -> str:
        """What marks a token that continues a word; empty where the vocabulary marks words' beginnings instead."""

    @abstractmethod
    def token_id(self, token: str) -> int | None:
        """Id of a token by its name in the vocabulary."""

    @abstractmethod
    def token(self, id: int) -> str | None:
        """What the vocabulary calls a token."""

    @abstractmethod
    def join(self, tokens: list[str]) -> str:
        """Text that tokens stand for, as near as the vocabulary remembers it."""

    @abstractmethod
    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        """Text that token ids stand for."""

    def check_max_length(self, max_length: int) -> None:
        """Raise InputError if `max_length` leaves no room for a token of each text beside the special tokens."""
        least = self.special_tokens(True) + 2
        if max_length < least:
            raise InputError(f"max_length must be at least {least}, got {max_length}")


def shares(lengths: tuple[int, int], limit: int, special: int, only_first: bool) -> tuple[int, int]:
    """How many tokens of each text of a pair stay.

    Args:
        lengths: tokens of each.
        limit: tokens for both together and `special` ones.
        special: how many special tokens there are.
        only_first: whether the second one stays whole.

    Raises:
        InputError: the second one stays whole, and leaves no room.
    """
    budget = limit - special
    if not only_first:
        return longest_first(*lengths, budget)
    first = min(lengths[0], budget - lengths[1])
    if first < min(lengths[0], 1):
        raise no_room_beside_second(limit)
    return first, lengths[1]


def no_room(limit: int) -> InputError:
    """Special tokens take all of a limit."""
    return InputError(f"a max_length of {limit} leaves no room beside the special tokens")


def no_room_beside_second(limit: int) -> InputError:
    """The second text of a pair takes all of a limit."""
    return InputError(f"the second text, which stays whole, leaves no room within max_length, {limit}")


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens of each text of a pair stay, when both together may have `budget`.

    The shorter text stays whole if it takes no more than half; otherwise they share, and an odd token goes to the
    longer one (to the second when they are equally long).
    """
    if first + second <= budget:
        return first, second
    shorter = min(first, second, budget // 2)
    return (budget - shorter, shorter) if first > second else (shorter, budget - shorter)


def kept(items: Any, count: int, direction: str) -> Any:
    """The first `count` of some items, or the last where texts are cut on the left."""
    if len(items) <= count:
        return items
    return items[len(items) - count :] if direction == "left" else items[:count]


def tokenizes_alone() -> bool:
    """Whether the environment has the tokenizers library work without threads of its own."""
    return os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("off", "false", "f", "no", "n", "0")
