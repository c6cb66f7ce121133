"""A recipe found for a budget: so many bytes, so much of the score, so much of the time, at the least loss."""

from __future__ import annotations

from minibert_converter.budget.goal import Goal, parse_size
from minibert_converter.budget.search import GoalError, Scorer, SearchResult, search

__all__ = ["Goal", "GoalError", "Scorer", "SearchResult", "parse_size", "search"]
