"""Pre-tokenizers of a tokenizer.json as passes over characters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from minibert.format import token_tables as tt
from minibert.format.token_tables import Pass
from minibert_converter.tokens import probing
from minibert_converter.tokens.characters import CharacterTable
from minibert_converter.tokens.refusal import NoTables

#: GPT-2's expression, which "words" stands for.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PUNCTUATION = json.dumps({"type": "Punctuation", "behavior": "Removed"})
_WHITESPACE = json.dumps({"type": "WhitespaceSplit"})
#: Where words are cut off around characters of class 1 among those of class 0: by class, bits of the classes before
#: which a cut is made.
_CUTS = {
    "Removed": (0, 0),
    "Isolated": (0b10, 0b11),
    "Contiguous": (0b10, 0b01),
    "MergedWithPrevious": (0b00, 0b11),
    "MergedWithNext": (0b10, 0b10),
}
_ATOM = r"(?:[^\\\[\](){}.*+?|^$]|\\[sSdDwW]|\\[pP]\{\w{1,20}\}|\[\^?(?:[^\\\[\]&]|\\[^xuoQEcCMGkg0-9])+\])"


class Splitters:
    """Makes passes of pre-tokenizers, and fills the table of characters that they read.

    Attributes:
        byte_level: whether characters become the bytes of their UTF-8 at the end.
    """

    def __init__(self, table: CharacterTable) -> None:
        self._table = table
        self.byte_level = False

    def passes(self, splitter: dict[str, Any] | None) -> Iterator[Pass]:
        """The passes of a pre-tokenizer, in order."""
        if splitter is None:
            return
        kind = splitter.get("type")
        if self.byte_level:
            raise NoTables(f"its pre-tokenizer {kind} stands behind ByteLevel")
        if kind == "Sequence":
            for each in splitter["pretokenizers"]:
                yield from self.passes(each)
        elif kind == "ByteLevel":
            self.byte_level = True
            if splitter.get("add_prefix_space"):
                yield Pass("prepend", content=" ", unless=" ")
            if splitter.get("use_regex", True):
                yield self._words()
        elif kind == "Metaspace":
            if "prepend_scheme" not in splitter:
                raise NoTables("its Metaspace is of an older kind")
            cuts = (int(splitter.get("split", True)),)
            where = splitter["prepend_scheme"].lower()
            yield Pass("metaspace", pattern=splitter["replacement"], where=where, cuts=cuts)
        else:
            yield self._cutting(splitter)

    def _cutting(self, splitter: dict[str, Any]) -> Pass:
        """The pass of a pre-tokenizer that does nothing but cut."""
        kind = splitter.get("type")
        if kind == "BertPreTokenizer":
            spaces, signs = probing.removed(_WHITESPACE), probing.removed(_PUNCTUATION)
            column = self._table.classes(spaces, signs - spaces)
            return Pass("split", column=column, cuts=(0b110, 0b111, 0b111), drops=0b10)
        if kind == "WhitespaceSplit":
            return self._at(probing.removed(_WHITESPACE), "Removed")
        if kind == "Whitespace":
            words, spaces = probing.word_characters()
            return Pass("split", column=self._table.classes(words, spaces), cuts=(0b110, 0b101, 0b111), drops=0b100)
        if kind == "Punctuation":
            return self._at(probing.removed(_PUNCTUATION), splitter.get("behavior", "Isolated"))
        if kind == "Digits":
            return self._at(probing.numeric(), "Isolated" if splitter["individual_digits"] else "Contiguous")
        if kind == "CharDelimiterSplit":
            return self._at({ord(splitter["delimiter"])}, "Removed")
        if kind == "Split":
            return self._split(splitter)
        raise NoTables(f"its pre-tokenizer {kind} has none")

    def _words(self) -> Pass:
        letters, numbers, spaces = (probing.matches(each) for each in (r"\p{L}", r"\p{N}", r"\s"))
        return Pass("words", column=self._table.classes(letters, numbers, spaces))

    def _at(self, points: Iterable[int], behavior: str, *, run: bool = False) -> Pass:
        cuts = _CUTS[behavior]
        if run and behavior != "Removed":  # a run of them is one match
            cuts = _CUTS["Contiguous"] if behavior == "Isolated" else (cuts[0], cuts[1] & 0b01)
        drops = 0b10 if behavior == "Removed" else 0
        return Pass("split", column=self._table.classes(points), cuts=cuts, drops=drops)

    def _split(self, splitter: dict[str, Any]) -> Pass:
        (kind, pattern), behavior = next(iter(splitter["pattern"].items())), splitter["behavior"]
        if kind == "Regex" and pattern == GPT2 and not splitter["invert"] and behavior == "Isolated":
            return self._words()
        if kind == "String" and len(pattern) == 1 and not splitter["invert"]:
            return self._at({ord(pattern)}, behavior)
        atom, run = (pattern[:-1], True) if pattern[-1:] == "+" and len(pattern) > 1 else (pattern, False)
        known = all(ord(char) < probing.ASSIGNED for char in pattern)  # others are not looked at one by one
        if kind == "Regex" and known and re.fullmatch(_ATOM, atom) and not splitter["invert"]:
            return self._at(probing.matches(atom), behavior, run=run)
        raise NoTables(f"its pre-tokenizer splits at {pattern!r:.60}, a regular expression")


def spaces_and_words(table: CharacterTable, rules: int) -> int:
    """The column that added tokens with some rules ask: white space, and what words are made of; -1 for none."""
    words, spaces = probing.word_characters() if rules else ((), ())
    values = dict.fromkeys(words, tt.IS_WORD) if rules & tt.SINGLE_WORD else {}
    values |= dict.fromkeys(spaces, tt.IS_SPACE) if rules & (tt.STRIPS_LEFT | tt.STRIPS_RIGHT) else {}
    return table.column(values) if values else -1
