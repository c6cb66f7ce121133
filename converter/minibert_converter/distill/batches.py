"""Packed batches: tokens of some texts one after another, and how they lie in the rectangle that attention wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minibert.format.constants import Pooling

#: Batches that are drawn together and sorted by length, so that texts of a batch are about as long.
_POOL = 32


@dataclass
class Batch:
    """Some texts as a model reads them.

    Attributes:
        ids: int64 [tokens].
        positions: int64 [tokens], each token's place in its text.
        types: int64 [tokens], token types.
        lengths: int64 [texts].
        places: int64 [texts, longest], for each place of the rectangle the token's row, `tokens` for padding; None if
            all texts are as long.
        flat: int64 [tokens], for each token its place in the flattened rectangle.
        mask: bool [texts, 1, 1, longest], False for padding; None if there is none.
    """

    ids: Tensor
    positions: Tensor
    types: Tensor
    lengths: Tensor
    places: Tensor | None
    flat: Tensor
    mask: Tensor | None

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]], device: torch.device | str) -> Batch:
        """Packs texts, each as its token ids and token types."""
        lengths = np.array([len(one) for one in ids])
        longest, tokens = int(lengths.max()), int(lengths.sum())
        inside = np.arange(longest) < lengths[:, None]
        flat = np.flatnonzero(inside)
        places = mask = None
        if tokens < inside.size:
            full = np.full(inside.size, tokens)
            full[flat] = np.arange(tokens)
            places = _tensor(full.reshape(inside.shape), device)
            mask = torch.from_numpy(inside[:, None, None]).to(device)
        return cls(
            _tensor(np.concatenate([np.asarray(one) for one in ids]), device),
            _tensor(flat % longest, device),
            _tensor(np.concatenate([np.asarray(one) for one in types]), device),
            _tensor(lengths, device),
            places,
            _tensor(flat, device),
            mask,
        )

    def spread(self, rows: Tensor) -> Tensor:
        """Rows of tokens [tokens, n] as a rectangle [texts, longest, n], zero in the padding."""
        if self.places is None:
            return rows.unflatten(0, (len(self.lengths), -1))
        return torch.cat([rows, rows.new_zeros(1, rows.shape[1])])[self.places]

    def gather(self, rectangle: Tensor) -> Tensor:
        """The reverse of `spread`: [tokens, n]."""
        rows = rectangle.flatten(0, 1)
        return rows if self.places is None else rows[self.flat]

    def pool(self, rows: Tensor, kind: Pooling) -> Tensor:
        """One row a text: [texts, n]."""
        ends = self.lengths.cumsum(0)
        if kind == "cls":
            return rows[ends - self.lengths]
        if kind == "last":
            return rows[ends - 1]
        rectangle = self.spread(rows)
        lengths = self.lengths[:, None]
        if kind == "mean":
            return rectangle.sum(dim=1) / lengths
        if kind == "mean_sqrt_length":
            return rectangle.sum(dim=1) / lengths.sqrt()
        if kind == "weighted_mean":
            return self.spread(rows * (self.positions + 1)[:, None]).sum(dim=1) / (lengths * (lengths + 1) / 2)
        if self.mask is not None:
            rectangle = rectangle.masked_fill(~self.mask[:, 0, 0, :, None], -torch.inf)
        return rectangle.amax(dim=1)


def plan_epoch(lengths: Sequence[int], size: int, seed: int) -> list[np.ndarray]:
    """One pass over all texts in random order, in batches of texts of like length: numbers of texts, int64 [<= size].

    Args:
        lengths: tokens of each text.
        size: texts in a batch.
        seed: of the order.
    """
    generator = np.random.default_rng(seed)
    order, tokens = generator.permutation(len(lengths)), np.asarray(lengths)
    batches: list[np.ndarray] = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL]
        pool = pool[np.argsort(tokens[pool], kind="stable")]
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def _tensor(values: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)
