"""Fewer weights: blocks, attention heads, FFN neurons and layers are removed, and sparse checkpoints recognised."""

from __future__ import annotations

from .blocks import Budget
from .pruner import Method, PruneReport, prune
from .request import Request, parse_request, parse_requests

__all__ = ["Budget", "Method", "PruneReport", "Request", "parse_request", "parse_requests", "prune"]
