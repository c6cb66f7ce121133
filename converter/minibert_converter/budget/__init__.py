"""A recipe found for a budget of bytes, score or time, at the least loss; or the fastest for a target, at a loss."""

from __future__ import annotations

from minibert_converter.budget.goal import Goal, parse_size
from minibert_converter.budget.search import GoalError, Scorer, SearchResult, search
from minibert_converter.budget.targets import TARGETS, Target, find_target

__all__ = [
    "TARGETS",
    "Goal",
    "GoalError",
    "Scorer",
    "SearchResult",
    "Target",
    "find_target",
    "parse_size",
    "search",
]
