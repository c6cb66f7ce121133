"""Fewer weights: blocks, attention heads, FFN neurons and layers are removed, and sparse checkpoints recognised."""

from __future__ import annotations

from minibert_converter.passes.prune.blocks import Budget
from minibert_converter.passes.prune.pruner import Method, PruneReport, prune
from minibert_converter.passes.prune.request import Request, parse_request, parse_requests

__all__ = ["Budget", "Method", "PruneReport", "Request", "parse_request", "parse_requests", "prune"]
