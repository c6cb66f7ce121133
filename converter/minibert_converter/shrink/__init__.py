"""From a teacher to the best student within a budget and a time: shapes are proposed, trained a little, and sifted."""

from minibert_converter.shrink.goal import Goal
from minibert_converter.shrink.shrink import Shrunk, shrink

__all__ = ["Goal", "Shrunk", "shrink"]
