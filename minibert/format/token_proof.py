"""The proof of a tokenizer's tables: whoever follows them stays within them, ends, and finds ids of the vocabulary.

It runs at the first text of every fresh process, so each part of it is a few passes over whole arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import FormatError
from minibert.format.token_tables import (
    ADDED,
    BLOCK_NODES,
    CLUSTERS,
    CODE_POINTS,
    COLUMNS,
    COMPOSITIONS,
    CONJUNCT,
    FIRST_SEQUENCE,
    IDS,
    LAST,
    MAX_GROWTH,
    MAX_PIECE_BYTES,
    MAX_TRIE_BYTES,
    PAGES,
    PIECES,
    RANKS,
    RECORDS,
    SCORES,
    SEQUENCES,
    SPACE,
    SPACED,
    SPLITS,
    Tokenization,
    TrieSize,
    first_children,
    key_nodes,
    scores_of,
    tries,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prove_tokens(tables: Tokenization, tensors: Mapping[str, NDArray[Any]], vocab_size: int) -> None:
    """Prove that whoever follows the tables, `expanded`, stays within them, ends, and finds ids of the vocabulary.

    Raises:
        FormatError: naming the tensor that leads elsewhere.
    """
    for name, size in tries(tables).items():
        levels = _prove_trie(name, size, tensors)
        if name == PIECES and tables.model == "bpe":
            _prove_merges(tables, tensors, levels)
    _prove_bytes(tables, tensors)
    _below(IDS, tensors[IDS], vocab_size)
    for name in ADDED:
        if f"{name}.ids" in tensors:
            _below(f"{name}.ids", tensors[f"{name}.ids"], vocab_size)
    for frame in (tables.single, tables.pair):
        if max((*frame.before, *frame.between, *frame.after), default=0) >= vocab_size:
            raise FormatError("a special token of the tokenizer's frame is outside of the vocabulary")
    if tables.unknown_id >= vocab_size:
        raise FormatError("the tokenizer's unknown_id is outside of the vocabulary")
    if tables.model == "unigram" and not np.isfinite(scores_of(tensors)).all():
        raise FormatError(f"tensor '{SCORES}' holds scores that are not finite")
    if tables.compositions:
        _characters(f"{COMPOSITIONS}.values", tensors[f"{COMPOSITIONS}.values"])
    if tables.columns:
        _below(PAGES, tensors[PAGES], tables.rows)
        _below(RECORDS, tensors[RECORDS], tables.records)
        _prove_columns(tables, tensors)
    _prove_growth(tables, tensors)


def _below(name: str, values: NDArray[Any], limit: int) -> None:
    if values.size and (values.max() >= limit or values.min() < 0):
        raise FormatError(f"tensor '{name}' must hold numbers from 0 to {limit - 1}")


def _characters(name: str, values: NDArray[Any]) -> None:
    _below(name, values, CODE_POINTS)
    if ((values >= 0xD800) & (values < 0xE000)).any():
        raise FormatError(f"tensor '{name}' holds half a surrogate pair")


def _prove_trie(name: str, size: TrieSize, tensors: Mapping[str, NDArray[Any]]) -> list[int]:
    """Children of all nodes lie one behind another, from node 1 to the last, behind their parents; keys are counted.

    Returns:
        Where each level of the trie begins, and where the last one ends.
    """
    blocks, nodes = tensors[f"{name}.blocks"], size.nodes
    # A sum beyond int32 becomes negative: then it is below 1.
    first = first_children(blocks, tensors[f"{name}.first"])[: nodes + 1]
    if first[0] != 1 or first[nodes] != nodes or first.min() < 1 or first.max() > nodes:
        raise FormatError(f"tensor '{name}.first': the children of its nodes are not its nodes")
    # As unsigned numbers, negative ones are huge.
    if np.diff(first).view(np.uint32).max() > 256:
        raise FormatError(f"tensor '{name}.first': a node has children before those of another, or more than 256")
    if (first[:nodes] <= np.arange(nodes, dtype=np.int32)).any():
        raise FormatError(f"tensor '{name}.first': a node would be its own child")
    _prove_keys(name, size, blocks)
    # Nodes lie level by level: the children of a level are the next one.
    levels, letters = [0, 1], 0
    while levels[-1] < nodes:
        letters += (len(levels) - 1) * (int(first[levels[-1]]) - levels[-1])
        levels.append(int(first[levels[-1]]))
        if len(levels) > MAX_PIECE_BYTES + 2 or letters > MAX_TRIE_BYTES:
            raise FormatError(
                f"tensor '{name}.first': a key is longer than {MAX_PIECE_BYTES} bytes, or all of them together would "
                f"take more than {MAX_TRIE_BYTES}"
            )
    return levels


def _prove_keys(name: str, size: TrieSize, blocks: NDArray[np.int32]) -> None:
    """Each block says how many keys there are before it; the root is none, nor is what lies behind the last node."""
    bits = np.ascontiguousarray(blocks[:, :2])
    counts = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)[bits.view(np.uint8)].sum(1)
    before = np.concatenate([[0], np.cumsum(counts)])
    if (blocks[:, 3] != before[:-1]).any() or before[-1] != size.keys:
        raise FormatError(f"tensor '{name}.blocks' does not count its {size.keys} keys")
    place = size.nodes // BLOCK_NODES
    last = np.unpackbits(bits[place:].view(np.uint8), bitorder="little")[size.nodes % BLOCK_NODES :]
    if bits[0, 0] & 1 or last.any():
        raise FormatError(f"tensor '{name}.blocks' has keys at its root, or behind its last node")


def _prove_merges(tables: Tokenization, tensors: Mapping[str, NDArray[Any]], levels: list[int]) -> None:
    """A split lies within its piece, and a rank is that of a merge."""
    lengths = np.arange(len(levels) - 1, dtype=np.int32).repeat(np.diff(levels))
    if (tensors[SPLITS] >= lengths[key_nodes(tensors[f"{PIECES}.blocks"])]).any():
        raise FormatError(f"tensor '{SPLITS}' splits pieces behind their end")
    _below(RANKS, tensors[RANKS], max(tables.merges, 1))


def _prove_bytes(tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Where pieces stand for bytes, each of the 256 has one."""
    if not (tables.byte_level or tables.byte_pieces):
        return
    labels, first, blocks = (tensors[f"{PIECES}.{part}"] for part in ("labels", "first", "blocks"))

    def children(node: int) -> dict[int, int]:
        """The children of a node by their bytes: of two by one byte the first, as whoever follows the trie finds it."""
        start, end = (int(blocks[each // BLOCK_NODES, 2]) + int(first[each]) for each in (node, node + 1))
        return dict(zip(labels[start:end].tolist()[::-1], range(end - 1, start - 1, -1), strict=True))

    def ends(node: int) -> int:
        low, high, _, _ = blocks[node // BLOCK_NODES].tolist()
        return ((low & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32) >> node % BLOCK_NODES & 1

    nodes = [0]
    hexadecimal = b"0123456789ABCDEF"
    for letters in (b"<", b"0", b"x", hexadecimal, hexadecimal, b">") if tables.byte_pieces else (bytes(range(256)),):
        found = map(children, nodes)
        nodes = [each[letter] for each in found for letter in letters if letter in each]
    if sum(map(ends, nodes)) < 256:
        raise FormatError(f"tensor '{PIECES}.labels': a byte has no piece, but tokens may be bytes")


def _prove_columns(tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> None:
    text, columns = tensors[SEQUENCES], tensors[COLUMNS]
    if text.size and text[-1] < LAST:
        raise FormatError(f"tensor '{SEQUENCES}' does not end with the last character of a sequence")
    _characters(SEQUENCES, text & ~LAST)
    replacements = {each.column for each in tables.passes if each.kind in ("map", "normal-form", "clusters")}
    values = [(f"{COLUMNS}[{number}]", columns[number]) for number in sorted(replacements)]
    if tables.clusters:
        values.append((f"{CLUSTERS}.values", tensors[f"{CLUSTERS}.values"]))
    for name, column in values:
        if column.size and int(column.max()) - FIRST_SEQUENCE >= tables.sequences and column.max() >= FIRST_SEQUENCE:
            raise FormatError(f"tensor '{name}' names places behind the last sequence")
    for each in tables.passes:
        limits = {"split": (each.column, len(each.cuts)), "words": (each.column, SPACE + 1)}
        limits |= {"normal-form": (each.classes, 256), "clusters": (each.classes, CONJUNCT + 1)}
        if each.kind in limits:
            number, limit = limits[each.kind]
            _below(f"{COLUMNS}[{number}]", columns[number], limit)


def _prove_growth(tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> None:
    """A text stays within MAX_GROWTH times its length, pass for pass."""
    ends = np.flatnonzero(tensors[SEQUENCES] >= LAST) if tables.columns else np.zeros(0, np.int64)

    def longest(values: NDArray[Any]) -> int:
        """Characters of the longest text that a column of replacements names."""
        found = values[values >= FIRST_SEQUENCE].astype(np.int64) - FIRST_SEQUENCE
        lengths = ends[np.searchsorted(ends, found)] - found + 1
        return max(3 if (values == SPACED).any() else 1, int(lengths.max(initial=1)))

    growth = 1
    for each in tables.passes:
        if each.kind in ("map", "normal-form", "clusters"):
            times = max(longest(tensors[COLUMNS][each.column]), 3 if each.hangul else 1)
            if each.kind == "clusters" and tables.clusters:
                times = max(times, longest(tensors[f"{CLUSTERS}.values"]))
        elif each.kind == "replace":
            times = max(1, -(-len(each.content) // (each.least or len(each.pattern))))
        else:  # what is put before a part, of which each character may be one
            times = 1 + {"prepend": len(each.content), "metaspace": 1}.get(each.kind, 0)
        growth *= times
    if growth > MAX_GROWTH:
        raise FormatError(f"the tokenizer's passes make a text {growth} times as long; the limit is {MAX_GROWTH}")
