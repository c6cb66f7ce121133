"""Text to token ids, by the tokenizers library, with truncation that is exact, bounded and never silent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from minibert.errors import FormatError, InputError, MinibertError
from minibert.forking import Lazy, unforked
from minibert.text.characters import has_surrogates, pieces, places_of, well_formed
from minibert.text.components import prove_tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

#: No more of one text than this many characters is ever read: only text without words (a megabyte of one letter)
#: can have fewer tokens than a model takes in so much. What lies behind counts as truncated.
MAX_CHARACTERS = 1 << 20
#: Longer texts are counted in pieces of about this many characters.
_PIECE_CHARACTERS = 1 << 16


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


class _Guard:
    """Around calls of the tokenizers library: what it raises, and Rust's panics, which are no Exception, are ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MinibertError) or error is None:
            return
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise FormatError(f"the tokenizer inside the model fails: {error}") from error


_LIBRARY = _Guard()


class Tokenizer:
    """A model's own tokenizer.

    Unpaired surrogates, which UTF-8 cannot carry, count as U+FFFD, as if the text had been decoded with
    `errors="replace"`; surrogates in pairs count as the character they spell.

    Safe to call from several threads: the library's truncation and padding are switched off, so encoding changes
    no state.

    Args:
        tokenizer_json: the text of a tokenizer.json.
        max_length: tokens that `encode` keeps unless told otherwise, special tokens included.
        token_types: rows of the model's token type table; with fewer than two, types are not asked for.
        characters_per_token: as of `TextConfig`.
        ignored_id: as of `TextConfig`; texts are counted with these tokens.
        empty_id: as of `TextConfig`.

    Raises:
        FormatError: if the library cannot read `tokenizer_json`, or it asks for more than `prove_tokenizer` allows;
            from the other methods, if it fails at what it was made for.
    """

    def __init__(
        self,
        tokenizer_json: str,
        *,
        max_length: int,
        token_types: int = 2,
        characters_per_token: int = 0,
        ignored_id: int = -1,
        empty_id: int = -1,
    ) -> None:
        with unforked(), _LIBRARY:
            # Imported here: 25 ms that a caller of `Model.forward` need not pay.
            from tokenizers import Tokenizer as Library

            try:
                prove_tokenizer(tokenizer_json)
            except FormatError as error:
                raise FormatError(f"the tokenizer inside the model cannot be used: {error}") from None
            self._library = Library.from_str(tokenizer_json)
            truncation = self._library.truncation
            self._direction: str = truncation["direction"] if truncation else "right"
            self._library.no_truncation()
            self._library.no_padding()
            special = self._library.num_special_tokens_to_add
            self._special = (special(False), special(True))
            added = self._library.get_added_tokens_decoder().values()
            self._special_tokens = {token.content for token in added if token.special}
        self.max_length = max_length
        self._characters_per_token = characters_per_token
        self._ignored_id = ignored_id
        self._empty_id = empty_id
        self._pair_types = token_types > 1
        with unforked():
            with suppress(FormatError):
                self._encode("a")  # the library sets more up at its first text
            self._text_types = self._pair_types and any(self._encode("a").type_ids)
        # Up to here a text is encoded whole; beyond, no more of it than truncation will keep.
        self._whole = max(4096, 16 * max_length)
        self._margin = 32 + 2 * max((len(token.content) for token in added), default=0)

    def encode(
        self, text: str, pair: str | None = None, max_length: int | None = None, only_first: bool = False
    ) -> Encoded:
        """Token ids with special tokens, of at most `max_length`.

        A pair is cut as transformers does by default ("longest_first"): the longer of the two gives way first; or with
        `only_first` the first text alone.

        Raises:
            InputError: if `max_length` leaves no room beside the special tokens, or the second text where it stays.
        """
        limit = self.max_length if max_length is None else max_length
        most = limit * self._characters_per_token
        if most and (len(text) > most or (pair is not None and len(pair) > most)):
            shorter = self.encode(text[:most], None if pair is None else pair[:most], limit, only_first)
            return shorter._replace(truncated=True)
        if len(text) <= self._whole and (pair is None or len(pair) <= self._whole):
            encoding = self._encode(text, pair)
            if len(encoding) <= limit:
                return self._encoded(encoding, pair is not None, False)
        return self._encode_cut(text, pair, limit, only_first)

    def encode_many(
        self,
        texts: Sequence[tuple[str, str | None]],
        max_length: int | None = None,
        only_first: bool = False,
        *,
        at_once: bool = False,
    ) -> list[Encoded]:
        """`encode` of each of many texts and pairs; `at_once`: faster, by all threads that the library has."""
        limit = self.max_length if max_length is None else max_length
        most = min(self._whole, limit * self._characters_per_token or self._whole)
        if at_once and all(pair is None and len(text) <= most for text, pair in texts):
            encodings = self._encode_at_once([text for text, _ in texts])
            if encodings is not None and max(map(len, encodings), default=0) <= limit:
                return [self._encoded(encoding, False, False) for encoding in encodings]
        return [self.encode(text, pair, limit, only_first) for text, pair in texts]

    def count(self, text: str, pair: str | None = None) -> int:
        """Tokens of a text or pair with its special tokens, before any truncation."""
        if pair is not None:
            return self._special[True] + sum(self.count(part) - self._special[False] for part in (text, pair))
        if len(text) <= _PIECE_CHARACTERS:
            return len(self._encode(text))
        parts = pieces(text, _PIECE_CHARACTERS, MAX_CHARACTERS)
        return self._special[False] + sum(len(self._encode(part, special=False)) for part in parts)

    def prompt_length(self, prompt: str, max_length: int | None = None) -> int:
        """How many of a text's first tokens are those of a prompt before it, as sentence-transformers counts them.

        It counts the tokens of the prompt alone, but for a special token behind them.
        """
        ids = self.encode(prompt, None, max_length).ids
        return len(ids) - (self.token(ids[-1]) in self._special_tokens)

    def frame(self, pair: bool) -> Frame:
        """The special tokens around one text or a pair."""
        encoding = self._encode("a", "a" if pair else None)
        ids, types, owners = encoding.ids, encoding.type_ids, encoding.sequence_ids
        first = [place for place, owner in enumerate(owners) if owner == 0]
        second = [place for place, owner in enumerate(owners) if owner == 1] or first
        if not first:
            raise FormatError("the tokenizer inside the model makes no token of the letter a")
        middle, rest = slice(first[-1] + 1, second[0]), slice(second[-1] + 1, None)
        typed = self._pair_types if pair else self._text_types
        return Frame(
            ids[: first[0]],
            ids[middle],
            ids[rest],
            (types[: first[0]], types[first[0]], types[middle], types[second[0]], types[rest]) if typed else None,
        )

    def content(self, text: str, budget: int | None = None) -> Content:
        """Tokens of a text without special tokens, with the characters that each came from.

        Args:
            text: any text.
            budget: tokens to keep, as truncation does; None for all.
        """
        places = None
        if not text.isascii() and has_surrogates(text):
            text, places = well_formed(text), places_of(text)
        if budget is None:
            content = self._whole_content(text)
        else:
            encoding, cut = self._beginning(text, budget)
            cut = cut or len(encoding) > budget
            encoding.truncate(budget, direction=self._direction)
            shift = max(len(text) - MAX_CHARACTERS, 0) if self._direction == "left" else 0
            offsets = [(start + shift, end + shift) for start, end in encoding.offsets] if shift else encoding.offsets
            content = Content(encoding.ids, encoding.tokens, offsets, encoding.word_ids, cut)
        if places is not None:
            content = content._replace(offsets=[(places[start], places[end]) for start, end in content.offsets])
        return content

    @Lazy
    def unknown_id(self) -> int | None:
        """Id of the token for what the vocabulary cannot spell; None if it can spell everything."""
        return self._named("[UNK]", "<unk>")

    @Lazy
    def mask_id(self) -> int | None:
        """Id of the token that a fill-mask model replaces."""
        return self._named("[MASK]", "<mask>")

    @Lazy
    def continuing_prefix(self) -> str:
        """What marks a token that continues a word; empty where the vocabulary marks words' beginnings instead."""
        return getattr(self._library.model, "continuing_subword_prefix", None) or ""

    def token_id(self, token: str) -> int | None:
        """Id of a token by its name in the vocabulary."""
        return self._library.token_to_id(well_formed(token))

    def token(self, id: int) -> str | None:
        """What the vocabulary calls a token."""
        return self._library.id_to_token(id)

    def join(self, tokens: list[str]) -> str:
        """Text that tokens stand for, as near as the vocabulary remembers it."""
        decoder = self._library.decoder
        with _LIBRARY:
            return " ".join(tokens) if decoder is None else decoder.decode([well_formed(token) for token in tokens])

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        """Text that token ids stand for."""
        with _LIBRARY:
            return self._library.decode(ids, skip_special_tokens=skip_special_tokens)

    def check_max_length(self, max_length: int) -> None:
        """Raise InputError if `max_length` leaves no room for a token of each text beside the special tokens."""
        least = self._special[True] + 2
        if max_length < least:
            raise InputError(f"max_length must be at least {least}, got {max_length}")

    def _named(self, *names: str) -> int | None:
        return next((id for name in names if (id := self._library.token_to_id(name)) is not None), None)

    def _whole_content(self, text: str) -> Content:
        ids, tokens, offsets, words = [], [], [], []
        # Pieces keep the library's memory bounded; cutting in front of white space changes no token.
        long = len(text) > MAX_CHARACTERS
        start = past = 0
        for piece in pieces(text, _PIECE_CHARACTERS, MAX_CHARACTERS) if long else (text,):
            encoding = self._encode(piece, special=False)
            ids += encoding.ids
            tokens += encoding.tokens
            offsets += [(start + first, start + last) for first, last in encoding.offsets]
            words += [None if word is None else word + past for word in encoding.word_ids]
            start += len(piece)
            past = len(words)  # no two pieces have a word of the same number
        return Content(ids, tokens, offsets, words, False)

    def _encode(self, text: str, pair: str | None = None, special: bool = True) -> Encoding:
        with _LIBRARY:
            try:
                return self._library.encode(text, pair, add_special_tokens=special)
            except TypeError:  # the library takes no surrogates
                return self._library.encode(
                    well_formed(text), None if pair is None else well_formed(pair), add_special_tokens=special
                )

    def _encode_at_once(self, texts: list[str]) -> list[Encoding] | None:
        """All texts by the library's own threads; None where it cannot, and one text by itself may still do.

        It takes no surrogates, and breaks down where no thread can be had.
        """
        try:
            return self._library.encode_batch_fast(texts)
        except TypeError:
            return None
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            return None

    def _post_process(self, first: Encoding, second: Encoding | None = None) -> Encoding:
        with _LIBRARY:
            return self._library.post_process(first, second)

    def _encode_cut(self, text: str, pair: str | None, limit: int, only_first: bool) -> Encoded:
        budget = limit - self._special[pair is not None]
        if budget < 1:
            raise InputError(f"a max_length of {limit} leaves no room beside the special tokens")
        first, cut = self._beginning(text, budget)
        if pair is None:
            cut = cut or len(first) > budget
            first.truncate(budget, direction=self._direction)
            encoding = self._post_process(first)
        else:
            second, cut_second = self._beginning(pair, budget)
            lengths = len(first), len(second)
            if only_first:
                first_share, second_share = min(len(first), budget - len(second)), len(second)
                if cut_second or first_share < min(len(first), 1):
                    raise InputError(f"the second text, which stays whole, leaves no room within max_length, {limit}")
            else:
                if (cut or cut_second) and budget % 2 and min(lengths) > budget // 2:
                    # Which text gets the odd token depends on which is longer, of all their tokens.
                    lengths = self.count(text[:MAX_CHARACTERS]), self.count(pair[:MAX_CHARACTERS])
                first_share, second_share = longest_first(*lengths, budget)
            cut = cut or cut_second or sum(lengths) > budget
            first.truncate(first_share, direction=self._direction)
            second.truncate(second_share, direction=self._direction)
            encoding = self._post_process(first, second)
        return self._encoded(encoding, pair is not None, cut)

    def _encoded(self, encoding: Encoding, pair: bool, truncated: bool) -> Encoded:
        """What a caller gets of the library's answer."""
        typed = self._pair_types if pair else self._text_types
        ids = encoding.ids
        if self._ignored_id >= 0 and self._ignored_id in ids:
            ids = [id for id in ids if id != self._ignored_id]
        if not ids and self._empty_id >= 0:
            ids = [self._empty_id]
        return Encoded(ids, encoding.type_ids if typed else None, truncated)

    def _beginning(self, text: str, budget: int) -> tuple[Encoding, bool]:
        """Tokens of `text` of which the first `budget` are sure to be those of the whole text.

        Encodes a prefix, and a longer one while that has too few tokens. What a tokenizer does at one place depends on
        the word it lies in and on added tokens nearby; so a token of a prefix is the whole text's token if it is not
        of the prefix's last word and ends a margin before the prefix does.

        Returns:
            The encoding without special tokens, and whether the text goes on behind it: then more of it than
            `budget` tokens, or than MAX_CHARACTERS, is there.
        """
        if self._direction == "left":
            return self._encode(text[-MAX_CHARACTERS:], special=False), len(text) > MAX_CHARACTERS
        size = self._whole
        while size < min(len(text), MAX_CHARACTERS):
            encoding = self._encode(text[:size], special=False)
            words, offsets = encoding.word_ids, encoding.offsets
            sure = len(words)
            while sure and (words[sure - 1] == words[-1] or offsets[sure - 1][1] > size - self._margin):
                sure -= 1
            if sure > budget:
                return encoding, True
            size *= 4
        return self._encode(text[:MAX_CHARACTERS], special=False), len(text) > MAX_CHARACTERS


def tokenizes_alone() -> bool:
    """Whether the environment has the tokenizers library work without threads of its own."""
    return os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("off", "false", "f", "no", "n", "0")


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens of each text of a pair stay, when both together may have `budget`.

    The shorter text stays whole if it takes no more than half; otherwise they share, and an odd token goes to the
    longer one (to the second when they are equally long).
    """
    if first + second <= budget:
        return first, second
    shorter = min(first, second, budget // 2)
    return (budget - shorter, shorter) if first > second else (shorter, budget - shorter)
