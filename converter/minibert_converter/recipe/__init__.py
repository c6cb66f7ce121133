"""What a conversion does to a network: an ordered list of passes, from a TOML file or from a command line's flags."""

from __future__ import annotations

from .recipe import Recipe, read_recipe
from .runner import PassReport, run
from .step import Context, Outcome, Pass

__all__ = ["Context", "Outcome", "Pass", "PassReport", "Recipe", "read_recipe", "run"]
