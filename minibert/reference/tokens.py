"""Text to token ids by the tables of a file, in plain Python. Twin: minibert.kernels.tokens.

A text is a list of characters, each with the part of the text that it came from, and marks where a part begins; the
passes of the tokenizer go over it one by one, and at the end each part is a word, which the model takes apart.
What an `Encoding` of the tokenizers library says of offsets and words is said here too, quirks included.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from minibert.format import token_tables as tt
from minibert.format.token_tables import (
    HANGUL_COUNT,
    HANGUL_FIRST,
    LEADS,
    TRAILS,
    UNKNOWN_PENALTY,
    VOWELS,
    Pass,
    Tokenization,
)
from minibert.format.trie import Trie


class Tokens(NamedTuple):
    """Tokens of one text without special tokens: ids, the characters that each came from, the number of its word."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int]


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


class TokenReference:
    """A tokenizer's tables, run in Python.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, expanded and proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, Any]) -> None:
        self._tables, self._tensors = tables, tensors
        self._tries = {name: Trie(name, tensors) for name in tt.tries(tables)}
        self._pieces = self._tries[tt.PIECES]
        self._passes = {
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
        self._model = {"wordpiece": self._wordpiece, "unigram": self._unigram, "bpe": self._bpe}[tables.model]
        self._prefix_node = self._pieces.walk(0, tables.prefix.encode())
        if tables.byte_level:
            self._byte_ids = [self._id(self._pieces.walk(0, bytes([byte]))) for byte in range(256)]
        elif tables.byte_pieces:
            self._byte_ids = [self._id(self._pieces.walk(0, b"<0x%02X>" % byte)) for byte in range(256)]

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
            state = self._passes[each.kind](each, state)
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
                found = self._model(b"".join(encoded), len(chars))
            for id, first, last in found:
                out.ids.append(id)
                out.spans.append((spans[owners[first]][0], spans[owners[last - 1]][1]))
                out.words.append(number)
        return out

    # Characters.

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

    # Passes, one after the other as in PassKind.

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
            return _placed(self._composed(each, ordered) if each.compose else ordered, spans)

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
            return _placed(made, spans)

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

    # Models: from the bytes of a word, tokens with the bytes of each.

    def _id(self, node: int) -> int:
        return int(self._tensors[tt.IDS][self._pieces.key(node)]) if node >= 0 and self._pieces.key(node) >= 0 else -1

    def _wordpiece(self, word: bytes, characters: int) -> list[tuple[int, int, int]]:
        unknown = [(self._tables.unknown_id, 0, len(word))]
        if characters > self._tables.max_word:
            return unknown
        found = []
        start = 0
        while start < len(word):
            node = self._prefix_node if start else 0
            id, end, place = -1, start, start
            while node >= 0 and place < len(word):
                node = self._pieces.child(node, word[place])
                place += 1
                if node >= 0 and self._pieces.key(node) >= 0:
                    id, end = self._id(node), place
            if id < 0:
                return unknown
            found.append((id, start, end))
            start = end
        return found

    def _unigram(self, word: bytes, characters: int) -> list[tuple[int, int, int]]:
        tables, ids, scores = self._tables, self._tensors[tt.IDS], tt.scores_of(self._tensors)
        unknown_score = float(scores.min()) - UNKNOWN_PENALTY if scores.size else -UNKNOWN_PENALTY
        # The best way to each place: its score, where its last piece begins, and that one's id.
        best: list[tuple[float, int, int]] = [(0.0, -1, 0)] * (len(word) + 1)
        start = 0
        while start < len(word):
            so_far = best[start][0]
            width = _width(word[start])
            alone = False
            node, place = 0, start
            while place < len(word):
                node = self._pieces.child(node, word[place])
                if node < 0:
                    break
                place += 1
                if (number := self._pieces.key(node)) >= 0:
                    score = float(scores[number]) + so_far
                    if best[place][1] < 0 or score > best[place][0]:
                        best[place] = (score, start, int(ids[number]))
                    alone = alone or place == start + width
            if not alone:
                score = unknown_score + so_far
                if best[start + width][1] < 0 or score > best[start + width][0]:
                    best[start + width] = (score, start, tables.unknown_id)
            start += width
        found: list[tuple[int, int, int]] = []
        end = len(word)
        while end > 0:
            _, start, id = best[end]
            if id == tables.unknown_id and found and found[-1][0] == id:
                found[-1] = (id, start, found[-1][2])
            else:
                found.append((id, start, end))
            end = start
        found.reverse()
        if not tables.byte_pieces:
            return found
        named = (self._pieces.walk(0, word[start:end]) for _, start, end in found)
        return [
            each
            for (id, start, end), node in zip(found, named, strict=True)
            for each in (
                [(self._byte_ids[byte], start, end) for byte in word[start:end]]
                if id == tables.unknown_id and self._id(node) < 0
                else [(id, start, end)]
            )
        ]

    def _bpe(self, word: bytes, characters: int) -> list[tuple[int, int, int]]:
        tables = self._tables
        if tables.whole_words and (id := self._id(self._pieces.walk(0, word))) >= 0:
            return [(id, 0, len(word))]
        # Symbols by where they begin: id, and where they end.
        symbols: dict[int, tuple[int, int]] = {}
        start = 0
        unknown = -1  # where the last symbol begins, if it is unknown
        while start < len(word):
            width = 1 if tables.byte_level else _width(word[start])
            id = self._id(self._pieces.walk(0, word[start : start + width]))
            if id >= 0:
                symbols[start], unknown = (id, start + width), -1
            elif tables.byte_pieces:
                symbols |= {place: (self._byte_ids[word[place]], place + 1) for place in range(start, start + width)}
            elif unknown >= 0 and tables.fuse_unknown:
                symbols[unknown] = (tables.unknown_id, start + width)
            else:
                symbols[start], unknown = (tables.unknown_id, start + width), start
            start += width
        before = {end: start for start, (_, end) in symbols.items()}
        queue: list[tuple[int, int, int, int]] = []

        def offer(start: int) -> None:
            middle = symbols[start][1]
            if middle in symbols:
                end = symbols[middle][1]
                rank = self._rank(word, start, middle, end)
                if rank >= 0:
                    heapq.heappush(queue, (rank, start, middle, end))

        for start in symbols:
            offer(start)
        while queue:
            _, start, middle, end = heapq.heappop(queue)
            if symbols.get(start, (0, 0))[1] != middle or symbols.get(middle, (0, 0))[1] != end:
                continue
            del symbols[middle], before[middle]
            symbols[start] = (self._id(self._pieces.walk(0, word[start:end])), end)
            before[end] = start
            if start in before:
                offer(before[start])
            offer(start)
        return [(id, start, end) for start, (id, end) in sorted(symbols.items())]

    def _rank(self, word: bytes, start: int, middle: int, end: int) -> int:
        """The rank of the merge of two symbols, or -1."""
        node = self._pieces.walk(0, word[start:end])
        number = self._pieces.key(node) if node >= 0 else -1
        if number < 0 or int(self._tensors[tt.SPLITS][number]) != middle - start:
            return -1
        return int(self._tensors[tt.RANKS][number])


def _placed(made: list[tuple[int, int]], spans: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
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


def _width(lead: int) -> int:
    """Bytes of the character that begins with a byte of UTF-8."""
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


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
