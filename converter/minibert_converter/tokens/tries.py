"""Tries over bytes, laid out level by level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minibert.format.token_tables import BLOCK_NODES, TrieSize, trie_room

Array = npt.NDArray[np.generic]


def build_trie(name: str, keys: Sequence[bytes]) -> tuple[TrieSize, dict[str, Array], npt.NDArray[np.int64]]:
    """A trie of different keys, none of them empty.

    Args:
        name: of its tensors.
        keys: in any order.

    Returns:
        Its size, its tensors, and the places in `keys` in the order in which the trie numbers them.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    lengths = np.array([len(keys[place]) for place in order], np.int64)
    data = np.frombuffer(b"".join([keys[place] for place in order]), np.uint8)
    offsets = np.cumsum(lengths) - lengths
    node_of = np.zeros(len(keys), np.int64)
    labels, parents = [np.zeros(1, np.uint8)], []
    nodes = 1
    # Keys with a beginning in common stand side by side, so the nodes of a level come in the order of their parents.
    for depth in range(int(lengths.max(initial=0))):
        active = np.flatnonzero(lengths > depth)
        label, parent = data[offsets[active] + depth], node_of[active]
        fresh = np.ones(len(active), np.bool_)
        fresh[1:] = (label[1:] != label[:-1]) | (parent[1:] != parent[:-1])
        node_of[active] = nodes + np.cumsum(fresh) - 1
        labels.append(label[fresh])
        parents.append(parent[fresh])
        nodes += int(fresh.sum())
    room = trie_room(nodes)
    first = np.full(room, nodes, np.int64)
    first[: nodes + 1] = np.searchsorted(np.concatenate([*parents, []]), np.arange(nodes + 1)) + 1
    ends = np.zeros(room, np.bool_)
    ends[node_of] = True
    bits = np.packbits(ends.reshape(-1, BLOCK_NODES), axis=1, bitorder="little").view("<i4")
    base = first[::BLOCK_NODES]
    before = np.cumsum(ends.reshape(-1, BLOCK_NODES).sum(1)) - ends.reshape(-1, BLOCK_NODES).sum(1)
    tensors: dict[str, Array] = {
        f"{name}.labels": np.concatenate([*labels, np.zeros(room - nodes, np.uint8)]),
        f"{name}.first": (first - base.repeat(BLOCK_NODES)).astype(np.uint16),
        f"{name}.blocks": np.column_stack([bits, base, before]).astype(np.int32),
    }
    numbered = np.asarray(order, np.int64)[np.argsort(node_of, kind="stable")]
    return TrieSize(nodes, len(keys)), tensors, numbered
