"""A tokenizer's tables as the kernels want them: addresses, and small tables that are looked up most."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from minibert.format import token_tables as tt
from minibert.format.token_tables import Pass, Tokenization
from minibert.format.trie import Trie
from minibert.kernels.tokens import entries as e

_KINDS = {
    "map": e.MAP,
    "normal-form": e.NORMAL_FORM,
    "clusters": e.CLUSTERS,
    "replace": e.REPLACE,
    "prepend": e.PREPEND,
    "metaspace": e.METASPACE,
    "added": e.ADDED,
    "strip": e.STRIP,
    "split": e.SPLIT,
    "words": e.WORDS,
}
_MODELS = {"wordpiece": e.WORDPIECE, "unigram": e.UNIGRAM, "bpe": e.BPE}
_WHERE = {"always": e.ALWAYS, "first": e.FIRST_PART, "never": e.NEVER}


class Lowered:
    """Tables for the kernels, and the arrays whose addresses they hold.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, expanded and proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._kept: list[np.ndarray] = []
        self.table: np.ndarray = np.zeros(e.TABLE_FIELDS, np.int64)
        rows = np.zeros((max(len(tables.passes), 1), e.PASS_FIELDS), np.int64)
        for row, each in zip(rows, tables.passes, strict=False):
            self._lower_pass(row, each, tables)
        self._write(
            self.table,
            {
                e.MODEL: _MODELS[tables.model],
                e.PASSES: self._own(rows),
                e.PASS_COUNT: len(tables.passes),
                e.PAGES: self._tensor(tt.PAGES),
                e.RECORDS: self._tensor(tt.RECORDS),
                e.SEQUENCES: self._tensor(tt.SEQUENCES),
                **self._trie(e.PIECES, tt.PIECES),
                e.IDS: self._tensor(tt.IDS),
                e.WIDE_IDS: tensors[tt.IDS].dtype.itemsize == 4,
                e.SCORES: self._tensor(tt.SCORES),
                e.WIDE_SCORES: tables.exact_scores,
                e.RANKS: self._tensor(tt.RANKS),
                e.WIDE_RANKS: tt.RANKS in tensors and tensors[tt.RANKS].dtype.itemsize == 4,
                e.SPLITS: self._tensor(tt.SPLITS),
                e.UNKNOWN_ID: tables.unknown_id,
                e.MAX_WORD: tables.max_word,
                e.WHOLE_WORDS: tables.whole_words,
                e.BYTE_LEVEL: tables.byte_level,
                e.BYTE_PIECES: tables.byte_pieces,
                e.FUSE_UNKNOWN: tables.fuse_unknown,
            },
        )
        trie = Trie(tt.PIECES, tensors)
        self.table[e.ROOT_CHILDREN] = self._own(trie.children(0))
        self.table[e.PREFIX_CHILDREN] = self._own(trie.children(trie.walk(0, tables.prefix.encode())))
        if tables.byte_pieces:
            keys = [trie.key(trie.walk(0, b"<0x%02X>" % byte)) for byte in range(256)]
            self.table[e.BYTE_IDS] = self._own(tensors[tt.IDS][keys].astype(np.int32))
        if tables.model == "unigram":
            scores = tt.scores_of(tensors)
            lowest = float(scores.min()) if scores.size else 0.0
            self.table[e.UNKNOWN_SCORE] = struct.unpack("<q", struct.pack("<d", lowest - tt.UNKNOWN_PENALTY))[0]

    def _lower_pass(self, row: np.ndarray, each: Pass, tables: Tokenization) -> None:
        entries: dict[int, Any] = {
            e.KIND: _KINDS[each.kind],
            e.LOWEST: each.lowest,
            e.COMPOSE: each.compose,
            e.HANGUL: each.hangul,
            e.UNLESS: ord(each.unless) if each.unless else -1,
            e.LEAST: each.least,
            e.WHERE: _WHERE[each.where],
            e.DROPS: each.drops,
            e.LEFT: each.cuts[0] if each.kind == "metaspace" and each.cuts else each.left,
            e.RIGHT: each.right,
        }
        for first, text in ((e.PATTERN, each.pattern), (e.CONTENT, each.content)):
            entries |= {first: self._own(np.array([*map(ord, text), 0], np.int32)), first + 1: len(text)}
        for first, number in ((e.COLUMN, each.column), (e.CLASSES, each.classes)):
            if number >= 0:
                column, page = self._tensors[tt.COLUMNS][number], self._tensors[tt.PAGES][0]
                entries[first] = column.ctypes.data
                entries[first + 1] = self._own(column[self._tensors[tt.RECORDS][page]])
        cuts = np.zeros(tt.MAX_CLASSES, np.int64)
        cuts[: len(each.cuts)] = each.cuts
        entries[e.CUTS] = self._own(cuts)
        name = {
            "normal-form": tt.COMPOSITIONS if each.compose else "",
            "clusters": tt.CLUSTERS if tables.clusters else "",
            "added": tt.ADDED[each.number],
        }.get(each.kind, "")
        if name:
            entries |= self._trie(e.TRIE, name)
            values = f"{name}.ids" if each.kind == "added" else f"{name}.values"
            entries |= {e.VALUES: self._tensor(values), e.FLAGS: self._tensor(f"{name}.flags")}
        if each.kind == "added":
            entries[e.STARTS] = self._own((Trie(name, self._tensors).children(0) >= 0).astype(np.uint8))
        self._write(row, entries)

    def _trie(self, first: int, name: str) -> dict[int, int]:
        parts = ("labels", "first", "blocks")
        return {first + number: self._tensor(f"{name}.{part}") for number, part in enumerate(parts)}

    def _tensor(self, name: str) -> int:
        tensor = self._tensors.get(name)
        return 0 if tensor is None else tensor.ctypes.data

    def _own(self, array: np.ndarray) -> int:
        """The address of an array that lives as long as the tables."""
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data

    @staticmethod
    def _write(row: np.ndarray, entries: Mapping[int, Any]) -> None:
        for entry, value in entries.items():
            row[entry] = int(value)
