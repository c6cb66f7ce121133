"""A text through all passes, then word by word through the model. Twin: minibert.kernels.tokens.tokenize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from minibert.format.token_tables import Tokenization
from minibert.reference.tokens.characters import Characters
from minibert.reference.tokens.models import WordModel
from minibert.reference.tokens.parts import Passes


class Tokens(NamedTuple):
    """Tokens of one text without special tokens: ids, the characters that each came from, the number of its word."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int]


class TokenReference:
    """A tokenizer's tables, run in Python.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, expanded and proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, Any]) -> None:
        self._tables = tables
        self._passes, self._model = Passes(tables, tensors), WordModel(tables, tensors)

    def tokenize(self, text: str, most: int | None = None) -> Tokens:
        """Tokens of a text without special tokens.

        Args:
            text: any text.
            most: tokens that are wanted, from the front: one more at least shows that there are more.
        """
        points = [*map(ord, text)]
        begins = [place == 0 for place in range(len(points))]
        state = Characters(points, [(place, place + 1) for place in range(len(points))], begins)
        for each in self._tables.passes:
            state = self._passes.run(each, state)
        out = Tokens([], [], [])
        for number, (start, end) in enumerate(state.parts()):
            if most is not None and len(out.ids) > most:
                break
            chars, spans = state.chars[start:end], state.spans[start:end]
            if chars[0] < 0:
                found = [(-1 - chars[0], 0, 1)]
                owners = [0]
            else:
                encoded = [chr(char).encode() for char in chars]
                owners = [place for place, data in enumerate(encoded) for _ in data]
                found = self._model.pieces(b"".join(encoded), len(chars))
            for id, first, last in found:
                out.ids.append(id)
                out.spans.append((spans[owners[first]][0], spans[owners[last - 1]][1]))
                out.words.append(number)
        return out
