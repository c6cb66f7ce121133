"""Passes after which tokens and texts that need no further layers leave early."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from minibert.format.constants import MAX_LAYERS
from minibert_converter.network import Network
from minibert_converter.passes.adaptive import add_exits, prune_tokens
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.keys import Keys, whole


@dataclass(frozen=True)
class PruneTokens(Pass):
    """Lets layers drop the tokens that matter least: the part of a text's tokens left after each layer's attention."""

    prune_tokens: tuple[float, ...] = ()

    verb = "prune_tokens"

    @classmethod
    def read(cls, keys: Keys) -> PruneTokens:
        """Keys: prune_tokens (an array of parts, one a layer)."""
        return cls(keys.shares("prune_tokens"))

    def run(self, network: Network, context: Context) -> Outcome:
        """See `adaptive.prune_tokens`."""
        report = prune_tokens(network, self.prune_tokens, context.texts, context.progress)
        return Outcome(details=asdict(report))


@dataclass(frozen=True)
class EarlyExit(Pass):
    """Lets a classifier answer after fewer layers where it is sure."""

    early_exit: tuple[int, ...] = ()
    tolerance: float = 0.02
    threshold: float = 0.0

    verb = "early_exit"

    @classmethod
    def read(cls, keys: Keys) -> EarlyExit:
        """Keys: early_exit (layers after which texts may leave, [] to choose them), tolerance, threshold."""
        layers = keys.items("early_exit", whole, 0, MAX_LAYERS)
        return cls(layers, keys.share("tolerance", 0.02), keys.share("threshold", 0.0))

    def run(self, network: Network, context: Context) -> Outcome:
        """See `adaptive.add_exits`."""
        report = add_exits(
            network,
            self.early_exit,
            context.texts,
            tolerance=self.tolerance,
            threshold=self.threshold,
            progress=context.progress,
        )
        return Outcome(details=asdict(report))
