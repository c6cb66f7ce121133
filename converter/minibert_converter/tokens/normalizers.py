"""Normalizers of a tokenizer.json as passes over characters."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibert.format import token_tables as tt
from minibert.format.token_tables import Pass
from minibert_converter.tokens import probing
from minibert_converter.tokens.characters import CharacterTable
from minibert_converter.tokens.refusal import NoTables

_BYTES = [bytes([byte]) for byte in range(256)]
_HANGUL = range(0xAC00, 0xAC00 + 11172)
_WHITESPACE = json.dumps({"type": "WhitespaceSplit"})


class Normalizers:
    """Makes passes of normalizers, and fills the table of characters that they read.

    Attributes:
        clusters: what the clusters of several characters become that a charsmap has as keys.
        composes: whether a pass composes characters.
    """

    def __init__(self, table: CharacterTable) -> None:
        self._table = table
        self.clusters: dict[bytes, int] = {}
        self.composes = False
        self._has_charsmap = False

    def passes(self, normalizer: dict[str, Any] | None) -> Iterator[Pass]:
        """The passes of a normalizer, in order."""
        if normalizer is None:
            return
        kind = normalizer.get("type")
        if kind == "Sequence":
            for each in normalizer["normalizers"]:
                yield from self.passes(each)
        elif kind == "BertNormalizer":
            yield from self._bert(normalizer)
        elif kind in ("Lowercase", "StripAccents", "Nmt"):
            yield self._map(normalizer)
        elif kind in ("NFD", "NFKD", "NFC", "NFKC"):
            yield self._normal_form(f"NF{'K' if 'K' in kind else ''}D", compose=kind.endswith("C"))
        elif kind == "Precompiled":
            yield from self._precompiled(normalizer.get("precompiled_charsmap"))
        elif kind == "Replace":
            yield _replace(normalizer)
        elif kind == "Prepend":
            yield Pass("prepend", content=normalizer["prepend"])
        elif kind == "Strip":
            ends = {"left": normalizer["strip_left"], "right": normalizer["strip_right"]}
            yield Pass("strip", column=self._table.classes(probing.removed(_WHITESPACE)), **ends)
        else:
            raise NoTables(f"its normalizer {kind} has none")

    def _map(self, *normalizers: dict[str, Any]) -> Pass:
        settings = {"type": "Sequence", "normalizers": list(normalizers)}
        values = dict(probing.replacements(json.dumps(settings)))
        hangul = len(values.get(_HANGUL[0], "")) > 1
        if hangul:  # taken apart by arithmetic
            values = {point: text for point, text in values.items() if point not in _HANGUL}
        lowest = min(values, default=tt.CODE_POINTS)
        return Pass("map", column=self._table.replacements(values), hangul=hangul, lowest=lowest)

    def _bert(self, normalizer: dict[str, Any]) -> Iterator[Pass]:
        off = {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False}
        off |= {"strip_accents": False, "lowercase": False}
        lower = normalizer["lowercase"]
        strips = lower if normalizer.get("strip_accents") is None else normalizer["strip_accents"]
        cleaned = {key: normalizer[key] for key in ("clean_text", "handle_chinese_chars")}
        if not strips:
            yield self._map(off | cleaned | {"lowercase": lower})
            return
        yield self._map(off | cleaned)
        yield self._normal_form("NFD", compose=False)
        yield self._map(off | {"strip_accents": True, "lowercase": lower})

    def _normal_form(self, form: str, *, compose: bool) -> Pass:
        values = probing.replacements(json.dumps({"type": form}))
        column = self._table.replacements({point: text for point, text in values.items() if point not in _HANGUL})
        classes = self._table.column(probing.combining_classes())
        self.composes |= compose
        changed = probing.replacements(json.dumps({"type": form[:-1] + "C"})) if compose else values
        lowest = min(*changed, *probing.combining_classes())
        return Pass("normal-form", column=column, classes=classes, compose=compose, hangul=True, lowest=lowest)

    def _precompiled(self, encoded: str | None) -> Iterator[Pass]:
        if not encoded:
            return
        if self._has_charsmap:
            raise NoTables("it has two charsmaps")
        self._has_charsmap = True
        table = b64decode(encoded)
        size = int.from_bytes(table[:4], "little")
        units, text = np.frombuffer(table, "<u4", size // 4, 4), table[4 + size :]
        singles: dict[int, str] = {}
        for key, place in _keys(units):
            try:
                spelt, value = key.decode(), text[place : text.index(b"\0", place)].decode()
            except ValueError:
                raise NoTables("its charsmap has keys or texts that are no text") from None
            if len(spelt) == 1:
                singles[ord(spelt)] = value
            else:
                self.clusters[key] = self._table.value(value, explicit=True)
        column = self._table.replacements(singles, explicit=True)
        yield Pass("clusters", column=column, classes=self._table.column(probing.cluster_breaks()))


def _keys(units: np.ndarray) -> Iterator[tuple[bytes, int]]:
    """The keys of a double array in the layout of Darts, no longer ones than are looked for, and their values."""
    labels = (units & (1 << 31 | 0xFF)).astype(np.int64)
    children_of = np.arange(len(units)) ^ (units >> 10 << ((units & 1 << 9) >> 6)).astype(np.int64)
    # A child stands where its label leads to from where the children of its parent are: so each says who these are.
    children = np.flatnonzero((labels > 0) & (labels < 256))
    children = children[np.argsort(children ^ labels[children], kind="stable")]
    bases = children ^ labels[children]
    keys, nodes = [b""], np.zeros(1, np.int64)
    for _ in range(tt.CLUSTER_BYTES):
        starts, ends = (np.searchsorted(bases, children_of[nodes], side) for side in ("left", "right"))
        counts = ends - starts
        parents = np.arange(len(nodes)).repeat(counts)
        nodes = children[np.arange(counts.sum()) - (np.cumsum(counts) - counts - starts).repeat(counts)]
        keys = [keys[parent] + _BYTES[label] for parent, label in zip(parents, labels[nodes], strict=True)]
        if (children_of[nodes] >= len(units)).any():
            raise NoTables("its charsmap is broken")
        values = (units[children_of[nodes]] & (1 << 31) - 1).tolist()
        for key, value, ends_here in zip(keys, values, (units[nodes] >> 8 & 1).tolist(), strict=True):
            if ends_here:
                yield key, value


def _replace(normalizer: dict[str, Any]) -> Pass:
    (kind, pattern), content = next(iter(normalizer["pattern"].items())), normalizer["content"]
    if kind == "String":
        return Pass("replace", pattern=pattern, content=content)
    if len(pattern) > 1 and pattern[1:] in ("+", "{1,}", "{2,}", "{3,}") and pattern[0] not in r"\.[(^$|?*+{":
        return Pass("replace", pattern=pattern[0], least=1 if pattern[1:] == "+" else int(pattern[2]), content=content)
    raise NoTables(f"its normalizer replaces {pattern!r:.60}, a regular expression")
