"""A ragged batch without padding: token ids end to end, and where each text starts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from minibert.errors import InputError
from minibert.format.schema import Architecture
from minibert.tuples import NamedTuple


class PackedBatch(NamedTuple):
    """Texts laid end to end.

    Attributes:
        ids: int32 [tokens].
        token_types: int32 [tokens].
        starts: int64 [texts + 1], text i is ids[starts[i]:starts[i + 1]].
        wanted: bool [tokens], of which tokens a row is wanted; None for all.
        attended: int64 [texts], how many of each text's first tokens are attended to; None for all of them.
    """

    ids: np.ndarray
    token_types: np.ndarray
    starts: np.ndarray
    wanted: np.ndarray | None = None
    attended: np.ndarray | None = None

    def output_starts(self, pooled: bool) -> np.ndarray:
        """Where the output rows of each text start: int64 [texts + 1]."""
        if pooled:
            return np.arange(len(self.starts))
        if self.wanted is None:
            return self.starts
        return np.concatenate([[0], np.cumsum(self.wanted)])[self.starts]


def pack(
    ids: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None, architecture: Architecture
) -> PackedBatch:
    """Check token ids against the model and lay them end to end.

    Args:
        ids: token ids of each text.
        token_types: segment ids in the same shape, or None for zeros.
        architecture: whose vocabulary, positions and token types bound them.

    Raises:
        InputError: ids or types that are not integers in range, an empty text, one longer than the model's
            positions, or shapes that differ.
    """
    lengths = _lengths(ids, "token id")
    for count in (min(lengths, default=1), max(lengths, default=1)):
        if count == 0 or count > architecture.max_positions:
            raise _wrong_length(lengths.index(count), count, architecture)
    starts = np.array([0, *accumulate(lengths)], np.int64)
    flat = _flat(ids, int(starts[-1]), architecture.vocab_size, "token id")
    if token_types is None:
        types = np.zeros(len(flat), np.int32)
    else:
        if _lengths(token_types, "token type") != lengths:
            raise InputError("token_types must have the shape of ids: one segment id for each token")
        types = _flat(token_types, len(flat), max(architecture.token_types, 1), "token type")
    return PackedBatch(flat, types, starts)


def with_wanted(batch: PackedBatch, wanted: Sequence[Sequence[int]], least: int = 0) -> PackedBatch:
    """The batch with rows for some tokens only: for each text their places in it, rising, `least` of them or more.

    Raises:
        InputError: places for more or fewer texts than there are, or places that don't rise, that a text hasn't, or
            that are too few.
    """
    texts = len(batch.starts) - 1
    if len(wanted) != texts:
        raise InputError(f"wanted must have a list of places for each text: {len(wanted)} lists for {texts} texts")
    flags = np.zeros(len(batch.ids), np.bool_)
    for number, (places, first, end) in enumerate(zip(wanted, batch.starts, batch.starts[1:], strict=False)):
        rising = np.asarray(places, np.int64)
        if rising.size and (rising[0] < 0 or rising[-1] >= end - first or (np.diff(rising) <= 0).any()):
            raise InputError(f"wanted places of text {number} must rise within 0..{end - first - 1}: {list(places)}")
        if len(rising) < least:
            raise InputError(f"text {number} of the batch has no token that is wanted: there is nothing to pool")
        flags[first + rising] = True
    return batch._replace(wanted=flags)


def with_attended(batch: PackedBatch, attended: Sequence[int], architecture: Architecture) -> PackedBatch:
    """The batch with keys and values of each text's first tokens only; the others have queries.

    Raises:
        InputError: numbers for more or fewer texts than there are, ones that are no number of a text's tokens, or a
            token to which no other one is near enough to be attended to.
    """
    lengths, counts = np.diff(batch.starts), np.array(attended, np.int64)
    if len(counts) != len(lengths) or (counts < 1).any() or (counts > lengths).any():
        raise InputError(f"attended must have a number of tokens for each text, from 1 to all: {list(attended)}")
    if architecture.relative_rows and (counts < lengths).any():
        raise InputError("attended must be all tokens where attention has tables for distances (DeBERTa)")
    window = min((layer.window for layer in architecture.layers if layer.window), default=0)
    if window and (lengths - counts > window).any():
        raise InputError(f"tokens more than {window} behind the last one that is attended to would see none")
    return batch._replace(attended=counts)


def _wrong_length(number: int, count: int, architecture: Architecture) -> InputError:
    which = f"text {number} of the batch has"
    if count == 0:
        return InputError(f"{which} no tokens: even an empty text has its special tokens")
    return InputError(f"{which} {count} tokens; the model has {architecture.max_positions} positions")


def _lengths(rows: Sequence[Sequence[int]], what: str) -> list[int]:
    """How many numbers each row has."""
    try:
        return [len(row) for row in rows]
    except TypeError as error:
        raise _no_lists(what, error) from None


def _flat(rows: Sequence[Sequence[int]], count: int, limit: int, what: str) -> np.ndarray:
    """All numbers of the rows as int32 [count], proven to lie in 0..limit - 1: kernels index memory with them."""
    try:
        # array refuses floats and strings, which NumPy would round and read.
        flat = np.array(array("q", chain.from_iterable(rows)), np.int64)
    except (TypeError, OverflowError) as error:
        raise _no_lists(what, error) from None
    if len(flat) != count:
        raise _no_lists(what, f"{len(flat)} numbers where {count} were promised")
    # One look at both ends: as unsigned numbers, negative ones are huge.
    if count and int(flat.view(np.uint64).max()) >= limit:
        wrong = int(flat[(flat < 0) | (flat >= limit)][0])
        raise InputError(f"{what} {wrong} is outside of 0..{limit - 1}")
    return flat.astype(np.int32)


def _no_lists(what: str, problem: object) -> InputError:
    return InputError(f"{what}s must be lists of integers, one list for each text: {problem}")
