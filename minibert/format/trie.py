"""Following a trie of a file's tables in Python."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Trie:
    """A trie over bytes whose nodes lie level by level, so that the children of one lie side by side."""

    def __init__(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        self._labels = tensors[f"{name}.labels"].tobytes()
        self._first = tensors[f"{name}.first"]
        self._blocks = tensors[f"{name}.blocks"]

    def first_child(self, node: int) -> int:
        """Where the children of a node begin; they end where those of the next one begin."""
        return int(self._blocks[node >> 6, 2]) + int(self._first[node])

    def child(self, node: int, byte: int) -> int:
        """The child by a byte, or -1."""
        return self._labels.find(byte, self.first_child(node), self.first_child(node + 1))

    def children(self, node: int) -> np.ndarray:
        """The children of a node by their bytes, -1 where there is none: int32 [256]; none of node -1."""
        found = np.full(256, -1, np.int32)
        if node >= 0:
            start, end = self.first_child(node), self.first_child(node + 1)
            labels = np.frombuffer(self._labels, np.uint8, end - start, start)
            # Of two by one byte the first, as `child` finds it.
            found[labels[::-1]] = np.arange(end - 1, start - 1, -1)
        return found

    def key(self, node: int) -> int:
        """The number of the key that ends at a node, or -1."""
        low, high, _, before = self._blocks[node >> 6]
        bits = (int(low) & 0xFFFFFFFF) | (int(high) & 0xFFFFFFFF) << 32
        place = node & 63
        return int(before) + (bits & ((1 << place) - 1)).bit_count() if bits >> place & 1 else -1

    def walk(self, node: int, data: bytes) -> int:
        """The node that bytes lead to, or -1."""
        for byte in data:
            node = self.child(node, byte)
            if node < 0:
                break
        return node
