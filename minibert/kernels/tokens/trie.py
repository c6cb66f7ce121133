"""Tries whose nodes lie level by level: children of a node side by side, up to those of the next node."""

from __future__ import annotations

from minibert.format.token_tables import LABELS_AT_ONCE
from minibert.kernels.kernel import int64, kernel
from minibert.kernels.simd import load_i64
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.memory import bit, bits_below, count_bits, find_label, load_byte, load_int, load_u16


@kernel(int64, int64, int64)
def first_child(trie, node):
    """Where the children of a node begin. `trie` is the address of its three entries."""
    return load_int(field(trie, e.BLOCKS) + (node >> 6) * 16 + 8) + load_u16(field(trie, e.FIRST) + 2 * node)


@kernel(int64, int64, int64, int64)
def child(trie, node, byte):
    """The child of a node by a byte, or -1."""
    place, end = first_child(trie, node), first_child(trie, node + 1)
    labels = field(trie, e.LABELS)
    while place < end:
        found = find_label(labels + place, end - place, byte)
        if found < LABELS_AT_ONCE:
            return place + found
        place += LABELS_AT_ONCE
    return -1


@kernel(int64, int64, int64)
def key(trie, node):
    """The number of the key that ends at a node, or -1."""
    block = field(trie, e.BLOCKS) + (node >> 6) * 16
    bits, place = load_i64(block), node & 63
    if bit(bits, place) == 0:
        return -1
    return load_int(block + 12) + count_bits(bits_below(bits, place))


@kernel(int64, int64, int64, int64, int64)
def walk(trie, node, start, end):
    """The node to which the bytes from address `start` to `end` lead from a node, or -1."""
    while node >= 0 and start < end:
        node = child(trie, node, load_byte(start))
        start += 1
    return node


@kernel(int64, int64, int64, int64)
def walk_character(trie, node, char):
    """The node to which the UTF-8 of a character leads, or -1."""
    if char < 0x80:
        return child(trie, node, char)
    if char < 0x800:
        node = child(trie, node, 0xC0 | char >> 6)
    else:
        if char < 0x10000:
            node = child(trie, node, 0xE0 | char >> 12)
        else:
            node = child(trie, node, 0xF0 | char >> 18)
            if node >= 0:
                node = child(trie, node, 0x80 | (char >> 12 & 63))
        if node >= 0:
            node = child(trie, node, 0x80 | (char >> 6 & 63))
    if node >= 0:
        node = child(trie, node, 0x80 | (char & 63))
    return node


@kernel(int64, int64)
def utf8_length(char):
    """Bytes of a character in UTF-8."""
    return 1 + (char >= 0x80) + (char >= 0x800) + (char >= 0x10000)


@kernel(int64, int64)
def lead_byte(char):
    """The first byte of a character in UTF-8."""
    if char < 0x80:
        return char
    if char < 0x800:
        return 0xC0 | char >> 6
    if char < 0x10000:
        return 0xE0 | char >> 12
    return 0xF0 | char >> 18
