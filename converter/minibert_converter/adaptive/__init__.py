"""Work that depends on the text: tokens and whole texts that need no further layers leave early."""

from .exits import ExitReport, add_exits
from .tokens import TokenReport, prune_tokens

__all__ = ["ExitReport", "TokenReport", "add_exits", "prune_tokens"]
