"""What every runtime is asked: named batches of token ids, the same for all."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

#: A batch is fed as a list of calls, each a list of indices into the batch.
Calls = list[list[int]]


@dataclass(frozen=True)
class Shape:
    """A batch: its name and the lengths of its texts, in tokens."""

    name: str
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all texts; padding is none."""
        return sum(self.lengths)

    @property
    def title(self) -> str:
        """What a table calls it."""
        if len(self.lengths) == 1:
            return f"one text of {self.tokens}"
        if len(set(self.lengths)) == 1:
            return f"{len(self.lengths)} texts of {self.lengths[0]}"
        return f"{len(self.lengths)} texts of {min(self.lengths)} to {max(self.lengths)}"

    def token_ids(self, vocab_size: int) -> list[list[int]]:
        """Random ids. The first quarter of a vocabulary is left out: special and unused tokens live there."""
        chance = random.Random(self.name)
        return [[chance.randrange(vocab_size // 4, vocab_size) for _ in range(n)] for n in self.lengths]


def _ragged(texts: int, median: float, sigma: float, shortest: int, longest: int) -> tuple[int, ...]:
    chance = random.Random(20)
    drawn = (round(chance.lognormvariate(math.log(median), sigma)) for _ in range(texts))
    return tuple(min(max(length, shortest), longest) for length in drawn)


_SHAPES = (
    *(Shape(f"b1s{length}", (length,)) for length in (8, 16, 32, 64, 128, 256, 512)),
    Shape("ragged64", _ragged(64, median=20, sigma=0.7, shortest=4, longest=128)),
    Shape("b32s128", (128,) * 32),
)
SHAPES = {shape.name: shape for shape in _SHAPES}

#: Texts of a ragged batch that a runtime with padding takes at a time, once they are sorted by length.
SORTED_AT_A_TIME = 16


def ways(shape: Shape) -> dict[str, Calls]:
    """The sensible ways to feed a batch to a runtime that pads; the best of them counts for it."""
    texts = range(len(shape.lengths))
    one = {"one at a time": [[text] for text in texts]}
    if len(texts) == 1:
        return one
    if len(set(shape.lengths)) == 1:
        return {"one batch": [list(texts)], **one}
    ranked = sorted(texts, key=lambda text: shape.lengths[text])
    groups = [ranked[first : first + SORTED_AT_A_TIME] for first in range(0, len(ranked), SORTED_AT_A_TIME)]
    return {f"sorted, {SORTED_AT_A_TIME} at a time": groups, **one}
