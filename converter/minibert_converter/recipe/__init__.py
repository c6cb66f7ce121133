"""What a conversion does to a network: an ordered list of passes, from a TOML file or from a command line's flags."""

from __future__ import annotations

from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.recipe.recipe import Recipe, read_recipe
from minibert_converter.recipe.runner import PassReport, run

__all__ = ["Context", "Outcome", "Pass", "PassReport", "Recipe", "read_recipe", "run"]
