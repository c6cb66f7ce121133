"""Texts to ids by a file's tables, by the kernels or in plain Python, in memory that grows with what comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minibert.forking import unforked
from minibert.format.token_tables import Tokenization
from minibert.kernels import opcodes as op
from minibert.kernels.tokens import entries as e
from minibert.text.characters import well_formed
from minibert.text.lowering import Lowered

if TYPE_CHECKING:
    from minibert.reference.tokens import TokenReference, Tokens

#: Characters of a text, and of a word, that there is room for at first.
_CAPACITY, _WORD_CAPACITY = 1024, 128
#: Characters at the end of a prefix whose tokens may be others than those of the whole text: more than two of the
#: longest added tokens that `minibert.text.components` allows.
_MARGIN = 1024


class TokenBatch(NamedTuple):
    """Tokens of texts, without special tokens, end to end.

    Attributes:
        ids: int32 [tokens].
        ends: where those of each text begin, and end: [texts + 1].
        spans: int32 [tokens, 2], the characters of its text that each came from; None if nobody asked.
        words: int32 [tokens], the number of each one's word in its text; None if nobody asked.
    """

    ids: np.ndarray
    ends: list[int]
    spans: np.ndarray | None
    words: np.ndarray | None


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
        self._run = run
        self._lowered = None if run is None else Lowered(tables, tensors)
        self._reference: TokenReference | None = None
        if run is None:
            with unforked():
                from minibert.reference.tokens import TokenReference

            self._reference = TokenReference(tables, tensors)

    def tokenize(self, texts: Sequence[str], most: int | None = None, *, places: bool = False) -> TokenBatch:
        """Tokens of texts.

        Args:
            texts: any texts; halves of surrogate pairs count as U+FFFD.
            most: tokens of a text that are wanted; of a text with more there may be some more, and are some more.
            places: whether to say which characters and words tokens came from.
        """
        try:
            data = "".join(texts).encode("utf-32-le")
        except UnicodeEncodeError:
            texts = [well_formed(text) for text in texts]
            data = "".join(texts).encode("utf-32-le")
        if self._lowered is None:
            return self._in_python(texts, most, places)
        return self._compiled(self._lowered, texts, data, most, places)

    def _in_python(self, texts: Sequence[str], most: int | None, places: bool) -> TokenBatch:
        found = [self._beginning(text, most) for text in texts]
        ends = [0]
        for each in found:
            ends.append(ends[-1] + len(each.ids))
        ids = np.array([id for each in found for id in each.ids], np.int32)
        if not places:
            return TokenBatch(ids, ends, None, None)
        spans = np.array([span for each in found for span in each.spans], np.int32).reshape(-1, 2)
        return TokenBatch(ids, ends, spans, np.array([word for each in found for word in each.words], np.int32))

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

    def _compiled(
        self, lowered: Lowered, texts: Sequence[str], data: bytes, most: int | None, places: bool
    ) -> TokenBatch:
        lengths = [len(text) for text in texts]
        bounds = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(lengths, out=bounds[1:])
        ends = np.zeros(len(texts) + 1, np.int64)
        longest = max(lengths, default=0)
        capacity = max(_CAPACITY, longest + (longest >> 2) + 16)
        word_capacity = min(_WORD_CAPACITY, capacity)
        room = len(data) // 4 + 4 * len(texts) + 16
        if most is not None:
            room = min(room, len(texts) * (most + 64) + 16)
        outs = _outputs(room, places)
        work = np.empty(_work_bytes(capacity, word_capacity), np.uint8)
        request, job = np.zeros(e.REQUEST_FIELDS, np.int64), np.zeros(op.JOB_FIELDS, np.int64)
        request[[e.TABLES, e.TEXT, e.BOUNDS, e.TEXTS, e.MOST, e.ENDS_OUT]] = (
            lowered.table.ctypes.data,
            np.frombuffer(data or bytes(4), np.uint8).ctypes.data,
            bounds.ctypes.data,
            len(texts),
            1 << 40 if most is None else most + 1,
            ends.ctypes.data,
        )
        job[op.JOB_KIND], job[op.JOB_TABLE] = op.READ_TEXTS, request.ctypes.data
        while True:
            request[[e.WORK, e.CAPACITY, e.WORD_CAPACITY, e.ROOM]] = work.ctypes.data, capacity, word_capacity, room
            request[[e.IDS_OUT, e.SPANS_OUT, e.WORDS_OUT]] = [0 if out is None else out.ctypes.data for out in outs]
            self._run(job.ctypes.data)  # pyright: ignore[reportOptionalCall]
            status = request[e.STATUS]
            if status == e.DONE:
                break
            if status == e.MORE_TOKENS:
                done, room = int(ends[request[e.NEXT]]), 2 * room
                grown = _outputs(room, places)
                for old, new in zip(outs, grown, strict=True):
                    if old is not None and new is not None:
                        new[:done] = old[:done]
                outs = grown
                continue
            if status == e.MORE_CHARACTERS:
                capacity *= 2
            else:
                word_capacity *= 4
            work = np.empty(_work_bytes(capacity, word_capacity), np.uint8)
        count = int(ends[-1])
        ids, spans, words = (None if out is None else out[:count] for out in outs)
        assert ids is not None
        return TokenBatch(ids, ends.tolist(), spans, words)


def _work_bytes(capacity: int, word_capacity: int) -> int:
    return 3 * e.WORK_HEADER + e.WORK_BYTES * capacity + e.WORD_BYTES * word_capacity


def _outputs(room: int, places: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Room for ids, spans and words."""
    if not places:
        return np.empty(room, np.int32), None, None
    return np.empty(room, np.int32), np.empty((room, 2), np.int32), np.empty(room, np.int32)
