"""A text on its way, and passes that replace its characters. Twin: minibert.kernels.tokens.characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minibert.format import token_tables as tt
from minibert.format.token_tables import HANGUL_COUNT, HANGUL_FIRST, LEADS, TRAILS, VOWELS, Pass, Tokenization
from minibert.format.trie import Trie


class Characters:
    """A text on its way.

    Attributes:
        chars: code points; an added token is -1 - id.
        spans: the part of the text that each came from.
        begins: whether a part begins at each.
    """

    def __init__(self, chars: list[int], spans: list[tuple[int, int]], begins: list[bool]) -> None:
        self.chars, self.spans, self.begins = chars, spans, begins

    def parts(self) -> Iterator[tuple[int, int]]:
        """Where each part begins and ends."""
        starts = [place for place, begins in enumerate(self.begins) if begins]
        yield from zip(starts, [*starts[1:], len(self.chars)], strict=False)


class CharacterPasses:
    """Passes that replace characters: one by one, by normal forms of Unicode, and by grapheme clusters.

    Args:
        tables: what the config says of a tokenizer's tables.
        tensors: those of `token_tensors`, expanded and proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._tries = {name: Trie(name, tensors) for name in tt.tries(tables)}

    def _value(self, column: int, char: int) -> int:
        """What a column of the table of characters says of one."""
        tensors = self._tensors
        page = int(tensors[tt.PAGES][char // tt.PAGE])
        return int(tensors[tt.COLUMNS][column, tensors[tt.RECORDS][page, char % tt.PAGE]])

    def _sequence(self, place: int) -> list[int]:
        found = []
        while True:
            found.append(int(self._tensors[tt.SEQUENCES][place]))
            if found[-1] & tt.LAST:
                found[-1] &= ~tt.LAST
                return found
            place += 1

    def _replaced(self, value: int, char: int) -> list[int]:
        """What stands for a character whose column holds `value`."""
        if value == tt.SPACED:
            return [32, char, 32]
        return [[char], []][value] if value < tt.FIRST_SEQUENCE else self._sequence(value - tt.FIRST_SEQUENCE)

    def _by_parts(self, state: Characters, change: Callable[[list[int], list[tuple[int, int]]], Any]) -> Characters:
        """The state with each part changed, but for added tokens; a part that becomes empty is gone."""
        made = Characters([], [], [])
        for start, end in state.parts():
            chars, spans = state.chars[start:end], state.spans[start:end]
            if chars[0] >= 0:
                chars, spans, *begins = change(chars, spans)
            else:
                begins = []
            made.chars += chars
            made.spans += spans
            made.begins += begins[0] if begins else [place == 0 for place in range(len(chars))]
        return made

    def _map(self, each: Pass, state: Characters) -> Characters:
        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            replaced = [self._taken_apart(each, char) for char in chars]
            return (
                [char for chars in replaced for char in chars],
                [span for chars, span in zip(replaced, spans, strict=True) for _ in chars],
            )

        return self._by_parts(state, change)

    def _taken_apart(self, each: Pass, char: int) -> list[int]:
        if each.hangul and HANGUL_FIRST <= char < HANGUL_FIRST + HANGUL_COUNT:
            lead, rest = divmod(char - HANGUL_FIRST, VOWELS[1] * TRAILS[1])
            vowel, trail = divmod(rest, TRAILS[1])
            return [LEADS[0] + lead, VOWELS[0] + vowel, *([TRAILS[0] + trail] if trail else [])]
        return self._replaced(self._value(each.column, char), char)

    def _normal_form(self, each: Pass, state: Characters) -> Characters:
        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            # With each character, how many of the old ones it stands for, less one: see `_placed`.
            made: list[tuple[int, int]] = []
            for char in chars:
                made += [(part, int(place > 0)) for place, part in enumerate(self._taken_apart(each, char))]
            ordered: list[tuple[int, int]] = []
            run: list[tuple[int, int]] = []
            for part in made:
                if self._value(each.classes, part[0]) == 0:
                    ordered += sorted(run, key=lambda item: self._value(each.classes, item[0]))
                    run = []
                    ordered.append(part)
                else:
                    run.append(part)
            ordered += sorted(run, key=lambda item: self._value(each.classes, item[0]))
            return placed(self._composed(each, ordered) if each.compose else ordered, spans)

        return self._by_parts(state, change)

    def _composed(self, each: Pass, parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
        made: list[tuple[int, int]] = []
        base = -1  # place in `made` of the last starter
        last = 0  # combining class of what was left uncomposed behind it
        for char, count in parts:
            kind = self._value(each.classes, char)
            if base >= 0 and (last == 0 or last < kind) and (last == 0 or kind > 0):
                whole = self._composition(made[base][0], char)
                if whole >= 0:
                    made[base] = (whole, made[base][1] + count - 1)
                    continue
            if kind == 0:
                base, last = len(made), 0
            elif base >= 0:
                last = kind
            made.append((char, count))
        return made

    def _composition(self, first: int, second: int) -> int:
        lead, vowel, trail = first - LEADS[0], second - VOWELS[0], second - TRAILS[0]
        if 0 <= lead < LEADS[1] and 0 <= vowel < VOWELS[1]:
            return HANGUL_FIRST + (lead * VOWELS[1] + vowel) * TRAILS[1]
        syllable = first - HANGUL_FIRST
        if 0 <= syllable < HANGUL_COUNT and syllable % TRAILS[1] == 0 and 0 < trail < TRAILS[1]:
            return first + trail
        trie = self._tries[tt.COMPOSITIONS]
        node = trie.walk(0, (chr(first) + chr(second)).encode())
        number = trie.key(node) if node >= 0 else -1
        return int(self._tensors[f"{tt.COMPOSITIONS}.values"][number]) if number >= 0 else -1

    def _clusters(self, each: Pass, state: Characters) -> Characters:
        trie = self._tries.get(tt.CLUSTERS)

        def change(chars: list[int], spans: list[tuple[int, int]]) -> Any:
            breaks = [self._value(each.classes, char) for char in chars]
            made: list[tuple[int, int]] = []

            def put(value: int, char: int, old: int) -> None:
                new = self._replaced(value, char)
                made.extend((part, int(place >= old)) for place, part in enumerate(new))
                if len(new) < old and made:
                    made[-1] = (made[-1][0], made[-1][1] - (old - len(new)))

            start = 0
            for end in cluster_ends(breaks):
                cluster = chars[start:end]
                value = self._value(each.column, cluster[0])
                if end - start > 1 and len("".join(map(chr, cluster)).encode()) <= tt.CLUSTER_BYTES:
                    if value == tt.STAYS and trie is not None:
                        value = self._cluster_value(trie, cluster)
                    if value != tt.STAYS:
                        put(value, cluster[0], end - start)
                        start = end
                        continue
                for char in cluster:
                    put(self._value(each.column, char), char, 1)
                start = end
            return placed(made, spans)

        return self._by_parts(state, change)

    def _cluster_value(self, trie: Trie, cluster: list[int]) -> int:
        """What stands for the shortest beginning of a cluster that is a key."""
        node = 0
        for byte in "".join(map(chr, cluster)).encode():
            node = trie.child(node, byte)
            if node < 0:
                return tt.STAYS
            if (number := trie.key(node)) >= 0:
                return int(self._tensors[f"{tt.CLUSTERS}.values"][number])
        return tt.STAYS


def placed(made: list[tuple[int, int]], spans: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Characters and where they came from.

    With each comes 0 if it stands for the next old character, less than 0 if for some more behind that one as well, and
    1 if it was put in: then it came from where the one before came from.
    """
    places = []
    next_one = 0
    for _, count in made:
        if count > 0:
            places.append(spans[next_one - 1] if next_one else (spans[0][0], spans[0][0]))
        else:
            places.append(spans[next_one])
            next_one += 1 - count
    return [char for char, _ in made], places


def cluster_ends(kinds: list[int]) -> Iterator[int]:
    """Where grapheme clusters end, by the classes of their characters (annex 29 of Unicode, GB3 to GB13)."""
    extends = (tt.EXTEND, tt.JOINER, tt.LINKER, tt.CONJUNCT)
    pictograph = False  # the cluster ends in a pictograph, and perhaps what extends it
    linked = 0  # 1: the cluster ends in a consonant and what extends it; 2: a linker is among that
    regional = False  # it ends in one regional indicator that has no other
    before = -1
    for place, kind in enumerate(kinds):
        joined = (
            (before == tt.CR and kind == tt.LF)
            or (before == tt.HANGUL_L and kind in (tt.HANGUL_L, tt.HANGUL_V, tt.HANGUL_LV, tt.HANGUL_LVT))
            or (before in (tt.HANGUL_V, tt.HANGUL_LV) and kind in (tt.HANGUL_V, tt.HANGUL_T))
            or (before in (tt.HANGUL_T, tt.HANGUL_LVT) and kind == tt.HANGUL_T)
            or (before not in (tt.CR, tt.LF, tt.CONTROL) and (kind in extends or kind == tt.SPACING))
            or (before == tt.PREPENDED and kind not in (tt.CR, tt.LF, tt.CONTROL))
            or (linked == 2 and kind == tt.CONSONANT)
            or (pictograph and before == tt.JOINER and kind == tt.PICTOGRAPH)
            or (regional and kind == tt.REGIONAL)
        )
        if place and not joined:
            yield place
        regional = kind == tt.REGIONAL and not (joined and regional)
        pictograph = kind == tt.PICTOGRAPH or (pictograph and kind in extends)
        if kind == tt.CONSONANT:
            linked = 1
        elif kind == tt.LINKER and linked:
            linked = 2
        elif kind not in (tt.CONJUNCT, tt.JOINER):
            linked = 0
        before = kind
    if kinds:
        yield len(kinds)
