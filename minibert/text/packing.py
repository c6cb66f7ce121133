"""Which texts share a forward pass.

Nothing is padded, so a batch costs what its tokens cost and answers do not depend on it; batching only keeps the
matrix multiplications busy and the memory of one pass bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

#: Texts in one forward pass, at most: the default of sentence-transformers.
BATCH_SIZE = 32
#: Tokens in one forward pass, at most (a single longer text still goes, alone). The int8 kernels reach full speed
#: at some dozens of rows, so more would only cost memory.
MAX_TOKENS = 2048
#: Texts that are tokenized, sorted and answered together when there are many.
READ_AHEAD = 256


def pack(lengths: Sequence[int], batch_size: int = BATCH_SIZE, max_tokens: int = MAX_TOKENS) -> Iterator[list[int]]:
    """Places of the texts that go into each batch, texts of like length together.

    Threads share a batch by whole texts, so batches of like lengths keep them equally busy.

    Args:
        lengths: tokens of each text.
        batch_size: texts in a batch, at most.
        max_tokens: tokens in a batch, at most, unless one text alone has more.

    Yields:
        Lists of indices into `lengths`; every index comes exactly once.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == batch_size or tokens + lengths[index] > max_tokens):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch
