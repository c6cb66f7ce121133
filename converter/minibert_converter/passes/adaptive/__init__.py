"""Work that depends on the text: tokens and whole texts that need no further layers leave early."""

from minibert_converter.passes.adaptive.exits import ExitReport, add_exits
from minibert_converter.passes.adaptive.tokens import TokenReport, prune_tokens

__all__ = ["ExitReport", "TokenReport", "add_exits", "prune_tokens"]
