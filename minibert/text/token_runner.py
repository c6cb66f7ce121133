"""Texts to ids by a file's tables, by the kernels or in plain Python, in memory that grows with what comes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minibert.errors import MinibertError
from minibert.forking import unforked
from minibert.format.token_tables import Tokenization
from minibert.kernels import opcodes as op
from minibert.kernels.tokens import entries as e
from minibert.text.characters import well_formed
from minibert.text.lowering import Lowered
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from minibert.reference.tokens import TokenReference, Tokens

#: Texts, characters of all of them, of one, and of a word, and tokens, that there is room for at first.
_TEXTS, _CHARACTERS, _CAPACITY, _WORD_CAPACITY, _ROOM = 32, 2048, 1024, 64, 1024
#: Desks that are kept for the next calls, and characters of a text that those may have room for.
_KEPT, _KEPT_CAPACITY = 4, 1 << 16
#: Characters at the end of a prefix whose tokens may be others than those of the whole text: more than two of the
#: longest added tokens that `minibert.text.components` allows.
_MARGIN = 1024
#: Bytes to work in for one text, at most: a megabyte of characters and one word takes a tenth of it.
_MOST_WORK = 4 << 30
#: More tokens than any text has.
_ALL = 1 << 40


class TokenBatch(NamedTuple):
    """Tokens of texts, without special tokens, end to end.

    Attributes:
        ids: of all texts.
        ends: where those of each text begin, and end: one more than there are texts.
        spans: for each token the characters of its text that it came from; None if nobody asked.
        words: the number of each one's word in its text; None if nobody asked.
    """

    ids: list[int]
    ends: list[int]
    spans: list[tuple[int, int]] | None
    words: list[int | None] | None


class TokenRunner:
    """Runs a tokenizer's tables. Safe to call from several threads: each call has memory of its own.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, expanded and proven.
        run: calls the kernels with the address of a job; None runs the tables in Python.
    """

    def __init__(
        self, tables: Tokenization, tensors: Mapping[str, Any], run: Callable[[int], None] | None = None
    ) -> None:
        self._lowered: Lowered | None = None
        self._reference: TokenReference | None = None
        if run is None:
            with unforked():
                from minibert.reference.tokens import TokenReference

            self._reference = TokenReference(tables, tensors)
        else:
            self._lowered, self._run = Lowered(tables, tensors), run
        # Lent and given back by operations that are atomic: no lock that a fork could catch closed.
        self._free: list[_Desk] = []

    def tokenize(self, texts: Sequence[str], most: int | None = None, *, places: bool = False) -> TokenBatch:
        """Tokens of texts.

        Args:
            texts: any texts; halves of surrogate pairs count as U+FFFD.
            most: tokens of a text that are wanted; of a text with more there may be some more, and is at least one.
            places: whether to say which characters and words tokens came from.
        """
        if self._lowered is None:
            return self._in_python([well_formed(text) for text in texts], most, places)
        try:
            data = "".join(texts).encode("utf-32-le")
        except UnicodeEncodeError:
            texts = [well_formed(text) for text in texts]
            data = "".join(texts).encode("utf-32-le")
        try:
            desk = self._free.pop()
        except IndexError:
            desk = _Desk(self._lowered)
        try:
            found = desk.run(self._run, data, [len(text) for text in texts], most, places)
        except MemoryError:
            longest = max(map(len, texts))
            raise MinibertError(f"not enough memory for the tokens of a text of {longest} characters") from None
        # Whoever was interrupted does not give back what it had.
        if len(self._free) < _KEPT and desk.capacity <= _KEPT_CAPACITY:
            self._free.append(desk)
        return found

    def _in_python(self, texts: Sequence[str], most: int | None, places: bool) -> TokenBatch:
        found = [self._beginning(text, most) for text in texts]
        ids = [id for each in found for id in each.ids]
        ends = [0, *accumulate(len(each.ids) for each in found)]
        if not places:
            return TokenBatch(ids, ends, None, None)
        words = [word for each in found for word in each.words]
        return TokenBatch(ids, ends, [span for each in found for span in each.spans], [*words])

    def _beginning(self, text: str, most: int | None) -> Tokens:
        """Tokens of a text in Python, of a prefix of it that has enough of them where that is so.

        What is made of a character depends on the word that it is in, and on added tokens nearby; so a token of a
        prefix is the whole text's token if it is not of the prefix's last word, and ends a margin before the prefix.
        """
        assert self._reference is not None
        size = 4096 if most is None else max(4096, 16 * most)
        while most is not None and size < len(text):
            found = self._reference.tokenize(text[:size])
            sure = sum(
                1
                for (_, end), word in zip(found.spans, found.words, strict=True)
                if word < found.words[-1] and end <= size - _MARGIN
            )
            if sure > most:
                return found
            size *= 4
        return self._reference.tokenize(text, most)


class _Desk:
    """Memory in which the kernels read texts, and leave tokens; it grows to what comes."""

    def __init__(self, lowered: Lowered) -> None:
        self._lowered = lowered  # its arrays live as long as somebody uses their addresses
        self._request, self._job = array("q", bytes(8 * e.REQUEST_FIELDS)), array("q", bytes(8 * op.JOB_FIELDS))
        self._request[e.TABLES] = lowered.table.ctypes.data
        self._job[op.JOB_KIND], self._job[op.JOB_TABLE] = op.READ_TEXTS, self._request.buffer_info()[0]
        self._at = self._job.buffer_info()[0]
        self._kept: dict[int, np.ndarray] = {}
        self._texts = self._characters = self.capacity = self._word_capacity = self._room = 0
        self._spans, self._words = memoryview(b""), memoryview(b"")
        self._more_texts(_TEXTS)
        self._more_characters(_CHARACTERS)
        self._more_work(_CAPACITY, _WORD_CAPACITY)
        self._more_room(_ROOM, places=False)

    def run(
        self, run: Callable[[int], None], data: bytes, lengths: list[int], most: int | None, places: bool
    ) -> TokenBatch:
        """Tokens of texts.

        Args:
            run: calls the kernels.
            data: their code points, four bytes each.
            lengths: how many each of them has.
            most: as of `TokenRunner.tokenize`.
            places: likewise.
        """
        count, characters, request = len(lengths), len(data) // 4, self._request
        if count > self._texts:
            self._more_texts(count)
        if characters > self._characters:
            self._more_characters(characters)
        if places and not self._spans:
            self._more_room(self._room, places=True)
        self._text[: len(data)] = data
        self._bounds[1 : count + 1] = array("q", accumulate(lengths))
        request[e.TEXTS], request[e.NEXT] = count, 0
        request[e.MOST] = _ALL if most is None else most + 1
        request[e.SPANS_OUT] = self._kept[e.SPANS_OUT].ctypes.data if places else 0
        request[e.WORDS_OUT] = self._kept[e.WORDS_OUT].ctypes.data if places else 0
        while True:
            run(self._at)
            status = request[e.STATUS]
            if status == e.DONE:
                break
            if status == e.MORE_TOKENS:
                self._more_room(2 * self._room, places=places)
            elif status == e.MORE_CHARACTERS:
                longest = max(lengths[request[e.NEXT] :])
                self._more_work(max(2 * self.capacity, longest + (longest >> 2)), self._word_capacity)
            else:
                self._more_work(self.capacity, 4 * self._word_capacity)
        ends = self._ends[: count + 1].tolist()
        ids = self._ids[: ends[-1]].tolist()
        if not places:
            return TokenBatch(ids, ends, None, None)
        flat = self._spans[: 2 * ends[-1]].tolist()
        words: list[int | None] = [*self._words[: ends[-1]].tolist()]
        return TokenBatch(ids, ends, [*zip(flat[::2], flat[1::2], strict=True)], words)

    def _more_texts(self, count: int) -> None:
        self._texts = count
        self._bounds, self._ends = self._array(e.BOUNDS, count + 1, "q"), self._array(e.ENDS_OUT, count + 1, "q")
        self._bounds[0] = self._ends[0] = 0

    def _more_characters(self, count: int) -> None:
        self._characters = count
        self._text = self._array(e.TEXT, 4 * count, "B")

    def _more_work(self, capacity: int, word_capacity: int) -> None:
        if capacity * e.WORK_BYTES + word_capacity * e.WORD_BYTES > _MOST_WORK:
            raise MemoryError
        self.capacity, self._word_capacity = capacity, word_capacity
        self._request[e.CAPACITY], self._request[e.WORD_CAPACITY] = capacity, word_capacity
        self._array(e.WORK, 3 * e.WORK_HEADER + e.WORK_BYTES * capacity + e.WORD_BYTES * word_capacity, "B")

    def _more_room(self, room: int, *, places: bool) -> None:
        """Room for so many tokens, those that are there among them."""
        self._room = self._request[e.ROOM] = room
        self._ids = self._grown(e.IDS_OUT, room)
        if places or self._spans:
            self._spans, self._words = self._grown(e.SPANS_OUT, 2 * room), self._grown(e.WORDS_OUT, room)

    def _grown(self, entry: int, size: int) -> memoryview:
        """An array of int32 with what was in the one before it."""
        before = self._kept.get(entry)
        grown = self._array(entry, size, "i")
        if before is not None:
            self._kept[entry][: len(before)] = before
        return grown

    def _array(self, entry: int, size: int, kind: Literal["q", "i", "B"]) -> memoryview:
        """A new array, whose address the request has at `entry`."""
        made = self._kept[entry] = np.empty(max(size, 1), {"q": np.int64, "i": np.int32, "B": np.uint8}[kind])
        self._request[entry] = made.ctypes.data
        return made.data.cast("B").cast(kind)
