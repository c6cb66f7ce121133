"""Passes that cut a text into parts, put signs before them, find added tokens. Twin: minibert.kernels.tokens.parts."""

from __future__ import annotations

from typing import Any

from minibert.format import token_tables as tt
from minibert.format.token_tables import Pass
from minibert.format.trie import Trie
from minibert.reference.tokens.characters import CharacterPasses, Characters


class Passes(CharacterPasses):
    """All passes, by their kinds."""

    def run(self, each: Pass, state: Characters) -> Characters:
        """One pass over a text."""
        kinds = {
            "map": self._map,
            "normal-form": self._normal_form,
            "clusters": self._clusters,
            "replace": self._replace,
            "strip": self._strip,
            "prepend": self._prepend,
            "added": self._added,
            "metaspace": self._metaspace,
            "split": self._split,
            "words": self._words,
        }
        return kinds[each.kind](each, state)

    def _replace(self, each: Pass, state: Characters) -> Characters:
        pattern, content = [*map(ord, each.pattern)], [*map(ord, each.content)]

        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            made: list[int] = []
            places: list[tuple[int, int]] = []
            place = 0
            while place < len(chars):
                length = 0
                if each.least:
                    while place + length < len(chars) and chars[place + length] == pattern[0]:
                        length += 1
                    length *= length >= each.least
                elif chars[place : place + len(pattern)] == pattern:
                    length = len(pattern)
                made += content if length else [chars[place]]
                places += [spans[place + length - 1]] * len(content) if length else [spans[place]]
                place += length or 1
            return made, places

        return self._by_parts(state, change)

    def _strip(self, each: Pass, state: Characters) -> Characters:
        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            start, end = 0, len(chars)
            while each.left and start < end and self._value(each.column, chars[start]) & tt.IS_SPACE:
                start += 1
            while each.right and start < end and self._value(each.column, chars[end - 1]) & tt.IS_SPACE:
                end -= 1
            return chars[start:end], spans[start:end]

        return self._by_parts(state, change)

    def _prepend(self, each: Pass, state: Characters) -> Characters:
        content = [*map(ord, each.content)]

        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            if each.unless and chars[0] == ord(each.unless):
                return chars, spans
            return content + chars, spans[:1] * len(content) + spans

        return self._by_parts(state, change)

    def _added(self, each: Pass, state: Characters) -> Characters:
        name = tt.ADDED[each.number]
        trie, ids, flags = self._tries[name], self._tensors[f"{name}.ids"], self._tensors[f"{name}.flags"]

        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            kinds = [self._value(each.column, char) if each.column >= 0 else 0 for char in chars]
            made: list[int] = []
            places: list[tuple[int, int]] = []
            begins: list[bool] = []

            def copy(start: int, end: int) -> None:
                made.extend(chars[start:end])
                places.extend(spans[start:end])
                begins.extend(place == start for place in range(start, end))

            done = place = 0
            while place < len(chars):
                number, end = self._longest(trie, chars, place)
                if number < 0:
                    place += 1
                    continue
                start, following = place, end
                place = end
                rules = int(flags[number])
                beside = (start > 0 and kinds[start - 1] & tt.IS_WORD) or (end < len(chars) and kinds[end] & tt.IS_WORD)
                if rules & tt.SINGLE_WORD and beside:
                    continue
                while rules & tt.STRIPS_LEFT and start > done and kinds[start - 1] & tt.IS_SPACE:
                    start -= 1
                while rules & tt.STRIPS_RIGHT and following < len(chars) and kinds[following] & tt.IS_SPACE:
                    following += 1
                if done < start:
                    copy(done, start)
                made.append(-1 - int(ids[number]))
                places.append((spans[start][0], spans[following - 1][1]))
                begins.append(True)
                done = following
            if done < len(chars):
                copy(done, len(chars))
            return made, places, begins

        return self._by_parts(state, change)

    def _longest(self, trie: Trie, chars: list[int], place: int) -> tuple[int, int]:
        """The longest key that begins at a place: its number, or -1, and where it ends."""
        node, found, end = 0, -1, place
        while place < len(chars):
            node = trie.walk(node, chr(chars[place]).encode())
            if node < 0:
                break
            place += 1
            if (number := trie.key(node)) >= 0:
                found, end = number, place
        return found, end

    def _metaspace(self, each: Pass, state: Characters) -> Characters:
        sign = ord(each.pattern)

        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            chars = [sign if char == 32 else char for char in chars]
            wanted = each.where == "always" or (each.where == "first" and spans[0][0] == 0)
            if wanted and chars[0] != sign:
                chars, spans = [sign, *chars], [spans[0], *spans]
            return chars, spans, [place == 0 or (any(each.cuts) and char == sign) for place, char in enumerate(chars)]

        return self._by_parts(state, change)

    def _split(self, each: Pass, state: Characters) -> Characters:
        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            made: list[int] = []
            places: list[tuple[int, int]] = []
            begins: list[bool] = []
            before = -1  # class of the character before, once there is one
            cut = True
            for char, span in zip(chars, spans, strict=True):
                kind = self._value(each.column, char)
                cut = cut or (before >= 0 and bool(each.cuts[before] >> kind & 1))
                before = kind
                if each.drops >> kind & 1:
                    cut = True
                    continue
                made.append(char)
                places.append(span)
                begins.append(cut)
                cut = False
            return made, places, begins

        return self._by_parts(state, change)

    def _words(self, each: Pass, state: Characters) -> Characters:
        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            kinds = [self._value(each.column, char) for char in chars]
            begins = [False] * len(chars)
            place = 0
            while place < len(chars):
                begins[place] = True
                place = word_end(chars, kinds, place)
            return chars, spans, begins

        return self._by_parts(state, change)


def word_end(chars: list[int], kinds: list[int], place: int) -> int:
    """Where the word of GPT-2 ends that begins at a place.

    Its expression: 's|'t|'re|'ve|'m|'ll|'d| ?letters| ?numbers| ?others|spaces, the last one to a word|spaces.
    """
    count = len(chars)
    if chars[place] == 0x27:
        after = "".join(map(chr, chars[place + 1 : place + 3]))
        if after[:1] in ("s", "t", "m", "d") and after:
            return place + 2
        if after in ("re", "ve", "ll"):
            return place + 3
    kind, end = kinds[place], place + 1
    if chars[place] == 32 and end < count and kinds[end] != tt.SPACE:
        kind, end = kinds[end], end + 1
    while end < count and kinds[end] == kind:
        end += 1
    if kind == tt.SPACE and end < count and end - place > 1:
        end -= 1
    return end
