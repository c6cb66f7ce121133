"""Passes after which tokens and texts that need no further layers leave early."""

from __future__ import annotations

from dataclasses import dataclass

from minibert.format.constants import MAX_LAYERS
from minibert_converter.network import Network
from minibert_converter.passes.adaptive.exits import add_exits
from minibert_converter.passes.adaptive.tokens import prune_tokens
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.options import SHARE, array, integer, option


@dataclass(frozen=True)
class PruneTokens(Pass):
    """Lets layers drop the tokens that matter least."""

    prune_tokens: tuple[float, ...] = option(
        array(SHARE, 1, MAX_LAYERS),
        "part of a text's tokens that is left after each layer, such as 0.9,0.8,0.6",
        flag="--prune-tokens",
        metavar="P,P,...",
    )

    def run(self, network: Network, context: Context) -> Outcome:
        """See `tokens.prune_tokens`."""
        return prune_tokens(network, self.prune_tokens, context.texts, context.progress)


@dataclass(frozen=True)
class EarlyExit(Pass):
    """Lets a classifier answer after fewer layers where it is sure."""

    early_exit: tuple[int, ...] = option(
        array(integer(0, MAX_LAYERS), 0, MAX_LAYERS),
        "let a classifier answer after these layers where it is sure (default: all but the last)",
        flag="--early-exit",
        metavar="LAYER,...",
        alone=(),
    )
    tolerance: float = option(
        SHARE,
        "part of the texts, at most, whose label early exit may change",
        0.02,
        flag="--exit-tolerance",
        metavar="PART",
    )
    confidence: float = option(
        SHARE,
        "with which no more labels change, of texts like those of --calibrate",
        0.95,
        flag="--exit-confidence",
        metavar="PART",
    )
    threshold: float = option(SHARE, "probability from which on a text leaves; 0 to choose it by the tolerance", 0.0)

    def run(self, network: Network, context: Context) -> Outcome:
        """See `exits.add_exits`."""
        return add_exits(
            network,
            self.early_exit,
            context.texts,
            self.tolerance,
            self.threshold,
            self.confidence,
            progress=context.progress,
        )
