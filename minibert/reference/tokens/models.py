"""What makes pieces of a word: WordPiece, Unigram, BPE. Twin: minibert.kernels.tokens.models."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from minibert.format import token_tables as tt
from minibert.format.token_tables import UNKNOWN_PENALTY, Tokenization
from minibert.format.trie import Trie


class WordModel:
    """The model of a tokenizer's tables.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, expanded and proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, Any]) -> None:
        self._tables, self._tensors = tables, tensors
        self._pieces = Trie(tt.PIECES, tensors)
        self._model = {"wordpiece": self._wordpiece, "unigram": self._unigram, "bpe": self._bpe}[tables.model]
        self._prefix_node = self._pieces.walk(0, tables.prefix.encode())
        if tables.byte_level:
            self._byte_ids = [self._id(self._pieces.walk(0, bytes([byte]))) for byte in range(256)]
        elif tables.byte_pieces:
            self._byte_ids = [self._id(self._pieces.walk(0, b"<0x%02X>" % byte)) for byte in range(256)]

    def pieces(self, word: bytes, characters: int) -> list[tuple[int, int, int]]:
        """The pieces of a word of so many characters: of each its id, and where its bytes begin and end."""
        return self._model(word, characters)

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


def _width(lead: int) -> int:
    """Bytes of the character that begins with a byte of UTF-8."""
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
