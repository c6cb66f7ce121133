"""A recipe found for a budget of bytes, score or time, at the least loss; or the fastest for a target, at a loss."""

from __future__ import annotations

from minibert_converter.budget.goal import Goal, parse_size
from minibert_converter.budget.interval import Kept, Score
from minibert_converter.budget.result import GoalError, SearchResult
from minibert_converter.budget.search import Scorer, search
from minibert_converter.budget.targets import TARGETS, Target, find_target

__all__ = [
    "TARGETS",
    "Goal",
    "GoalError",
    "Kept",
    "Score",
    "Scorer",
    "SearchResult",
    "Target",
    "find_target",
    "parse_size",
    "search",
]
