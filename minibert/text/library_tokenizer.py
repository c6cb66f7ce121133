"""Text to token ids, by the tokenizers library, with truncation that is exact, bounded and never silent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, ClassVar

from minibert.errors import FormatError, MinibertError
from minibert.forking import unforked
from minibert.text.characters import well_formed
from minibert.text.components import prove_tokenizer
from minibert.text.tokenizer import (
    MAX_CHARACTERS,
    Content,
    Encoded,
    Frame,
    TextSettings,
    Tokenizer,
    no_room,
    no_room_beside_second,
    shares,
)

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Library


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


def guarded() -> AbstractContextManager[None]:
    """Around calls of the tokenizers library elsewhere: what it raises becomes a FormatError."""
    return _LIBRARY


class LibraryTokenizer(Tokenizer):
    """A tokenizer that the tokenizers library runs: what has no tables.

    The library's truncation and padding are switched off, so encoding changes no state.

    Args:
        tokenizer_json: the text of a tokenizer.json.
        settings: how the model reads texts.

    Raises:
        FormatError: if the library cannot read `tokenizer_json`, or it asks for more than `prove_tokenizer` allows;
            from the other methods, if it fails at what it was made for.
    """

    source: ClassVar[str] = "library"

    def __init__(self, tokenizer_json: str, settings: TextSettings) -> None:
        super().__init__(settings)
        with unforked(), _LIBRARY:
            self._library = proven_library(tokenizer_json)
            truncation = self._library.truncation
            self._direction: str = truncation["direction"] if truncation else "right"
            self._library.no_truncation()
            self._library.no_padding()
            special = self._library.num_special_tokens_to_add
            self._special = (special(False), special(True))
            added = self._library.get_added_tokens_decoder().values()
            self._special_tokens = {token.content for token in added if token.special}
        with unforked():
            with suppress(FormatError):
                self._encode("a")  # the library sets more up at its first text
            self._text_types = self._pair_types and any(self._encode("a").type_ids)
        # Up to here a text is encoded whole; beyond, no more of it than truncation will keep.
        self._whole = max(4096, 16 * self.max_length)
        self._margin = 32 + 2 * max((len(token.content) for token in added), default=0)

    @property
    def library(self) -> Library:
        return self._library

    def _encode_all(
        self, texts: Sequence[tuple[str, str | None]], limit: int, only_first: bool, at_once: bool
    ) -> list[Encoded]:
        if at_once and all(pair is None and len(text) <= self._whole for text, pair in texts):
            encodings = self._encode_at_once([text for text, _ in texts])
            if encodings is not None and max(map(len, encodings), default=0) <= limit:
                return [self._encoded(encoding, False, False) for encoding in encodings]
        return [self._encode_one(text, pair, limit, only_first) for text, pair in texts]

    def _encode_one(self, text: str, pair: str | None, limit: int, only_first: bool) -> Encoded:
        if len(text) <= self._whole and (pair is None or len(pair) <= self._whole):
            encoding = self._encode(text, pair)
            if len(encoding) <= limit:
                return self._encoded(encoding, pair is not None, False)
        return self._encode_cut(text, pair, limit, only_first)

    def _count(self, text: str) -> int:
        return len(self._encode(text, special=False))

    def special_tokens(self, pair: bool) -> int:
        return self._special[pair]

    def is_special(self, id: int) -> bool:
        return self.token(id) in self._special_tokens

    def frame(self, pair: bool) -> Frame:
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

    def _content(self, text: str) -> Content:
        encoding = self._encode(text, special=False)
        return Content(encoding.ids, encoding.tokens, encoding.offsets, encoding.word_ids, False)

    def _cut_content(self, text: str, budget: int) -> Content:
        encoding, cut = self._beginning(text, budget)
        cut = cut or len(encoding) > budget
        encoding.truncate(budget, direction=self._direction)
        shift = max(len(text) - MAX_CHARACTERS, 0) if self._direction == "left" else 0
        offsets = [(start + shift, end + shift) for start, end in encoding.offsets] if shift else encoding.offsets
        return Content(encoding.ids, encoding.tokens, offsets, encoding.word_ids, cut)

    @property
    def continuing_prefix(self) -> str:
        return getattr(self._library.model, "continuing_subword_prefix", None) or ""

    def token_id(self, token: str) -> int | None:
        return self._library.token_to_id(well_formed(token))

    def token(self, id: int) -> str | None:
        return self._library.id_to_token(id)

    def join(self, tokens: list[str]) -> str:
        decoder = self._library.decoder
        with _LIBRARY:
            return " ".join(tokens) if decoder is None else decoder.decode([well_formed(token) for token in tokens])

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        with _LIBRARY:
            return self._library.decode(ids, skip_special_tokens=skip_special_tokens)

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
            raise no_room(limit)
        first, cut = self._beginning(text, budget)
        if pair is None:
            cut = cut or len(first) > budget
            first.truncate(budget, direction=self._direction)
            encoding = self._post_process(first)
        else:
            second, cut_second = self._beginning(pair, budget)
            lengths = len(first), len(second)
            if only_first and cut_second:
                raise no_room_beside_second(limit)
            if not only_first and (cut or cut_second) and budget % 2 and min(lengths) > budget // 2:
                # Which text gets the odd token depends on which is longer, of all their tokens.
                lengths = self.count(text[:MAX_CHARACTERS]), self.count(pair[:MAX_CHARACTERS])
            first_share, second_share = shares(lengths, limit, self._special[True], only_first)
            cut = cut or cut_second or sum(lengths) > budget
            first.truncate(first_share, direction=self._direction)
            second.truncate(second_share, direction=self._direction)
            encoding = self._post_process(first, second)
        return self._encoded(encoding, pair is not None, cut)

    def _encoded(self, encoding: Encoding, pair: bool, truncated: bool) -> Encoded:
        """What a caller gets of the library's answer."""
        typed = self._pair_types if pair else self._text_types
        return self._finished(encoding.ids, encoding.type_ids if typed else None, truncated)

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


def proven_library(tokenizer_json: str) -> Library:
    """The library's object of a tokenizer.json, once that is proven to ask for bounded work.

    Raises:
        FormatError: it asks for more.
    """
    # Imported here: 25 ms that a caller of `Model.forward` need not pay.
    from tokenizers import Tokenizer as Library

    try:
        prove_tokenizer(tokenizer_json)
    except FormatError as error:
        raise FormatError(f"the tokenizer inside the model cannot be used: {error}") from None
    return Library.from_str(tokenizer_json)
