"""The passes that remove parts of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from minibert.format.constants import MAX_HIDDEN_SIZE
from minibert_converter.calibration.tokens import builtin_texts, evenly, tokenize
from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.options import TEXTS, choice, integer, option
from minibert_converter.passes.prune.blocks import Budget
from minibert_converter.passes.prune.narrow import narrow
from minibert_converter.passes.prune.pruner import Method, prune
from minibert_converter.passes.prune.request import parse_requests


@dataclass(frozen=True)
class Prune(Pass):
    """Removes blocks, heads, neurons or layers; with nothing to remove it only reads what a checkpoint had pruned."""

    prune: tuple[str, ...] = option(
        TEXTS,
        "remove a part: 4x4:0.5 (blocks of weights), heads:0.33, ffn:0.5, layers:2 or layers:1,3; repeatable",
        (),
        check=parse_requests,
        flag="--prune",
        metavar="WHAT:PART",
    )
    method: Method = option(
        choice(*get_args(Method)),
        "remove what changes the answers to texts least, or the smallest weights",
        "second-order",
        flag="--prune-method",
    )
    budget: Budget | None = option(
        choice(*get_args(Budget)),
        "remove that part of the whole, or of each matrix (default: global if second-order, else matrix)",
        None,
        flag="--prune-budget",
    )

    texts: int = option(integer(0, 1 << 20), "texts that it reads at most; 0 for as many as teach it something", 0)

    def reads_texts(self) -> bool:
        """Only to remove something."""
        return bool(self.prune)

    def run(self, network: Network, context: Context) -> Outcome:
        """See `pruner.prune`."""
        texts = context.texts
        if self.texts:
            texts = evenly(builtin_texts() if texts is None else texts, self.texts)
        return prune(
            network,
            self.prune,
            self.method,
            self.budget,
            texts=texts,
            progress=context.progress,
            memory=None if self.texts else context.memory,  # which is of all texts
        )


@dataclass(frozen=True)
class Narrow(Pass):
    """Leaves fewer features in every row that layers hand on: the start of a training, which a pass distill is."""

    narrow: int = option(integer(1, MAX_HIDDEN_SIZE), "the hidden size that stays; a training has to follow")

    def run(self, network: Network, context: Context) -> Outcome:
        """See `narrow.narrow`."""
        narrow(network, self.narrow, tokenize(network, context.texts), context.seed)
        return Outcome()
