"""What a network answers where a word's row is another one: by which errors of rows are told that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minibert_converter.calibration.outputs import outputs
from minibert_converter.calibration.tokens import tokenizer_of
from minibert_converter.export import WORDS
from minibert_converter.network import Float32Array, Network

#: Tokens that go through the network at once.
_CHUNK_TOKENS = 1024


class Trial:
    """A network in float32 with rows tried in place of words.

    Args:
        network: its words are a float32 table.
        kept: ids that texts beside the tried rows use; they keep their rows.

    Attributes:
        frame: special tokens before and behind a text.
        width: columns of a row, padding included.
    """

    def __init__(self, network: Network, kept: Sequence[int] = ()) -> None:
        self._network = network
        table = network.tables[WORDS]
        assert isinstance(table, np.ndarray)
        self._table: Float32Array = table.copy()
        frame = tokenizer_of(network).frame(False)
        self.frame = (frame.before, frame.after)
        ids = np.arange(len(table))
        self._free = ids[~np.isin(ids, [*frame.before, *frame.after, *kept])]
        self.width = table.shape[1]

    def within(self, before: Sequence[int], after: Sequence[int], rows: Float32Array) -> Float32Array:
        """Answers to texts of the same tokens but for one, whose row is given.

        Args:
            before: ids before it, special tokens included.
            after: ids behind it.
            rows: float32 [n, H].

        Returns:
            float32 [n, outputs]; where a network answers for each token, those of all tokens in a row.
        """
        parts = [rows[first : first + len(self._free)] for first in range(0, len(rows), len(self._free))]
        return np.concatenate([self._answers(before, after, part) for part in parts])

    def _answers(self, before: Sequence[int], after: Sequence[int], rows: Float32Array) -> Float32Array:
        free = self._free[: len(rows)]
        self._table[free] = rows
        network = replace(self._network, tables={**self._network.tables, WORDS: self._table})
        ids = [[*before, word, *after] for word in free.tolist()]
        step = max(_CHUNK_TOKENS // len(ids[0]), 1)
        chunks = [ids[first : first + step] for first in range(0, len(ids), step)]
        found = outputs(network, [(chunk, [[0] * len(one) for one in chunk]) for chunk in chunks])
        return found.reshape(len(rows), -1)

    def multiplications(self, tokens: int) -> int:
        """Of one text of so many tokens, in the network's matrices."""
        linears = [getattr(linear, "weight", np.empty(0)) for linear in self._network.linears.values()]
        return tokens * sum(weight.size for weight in linears)
