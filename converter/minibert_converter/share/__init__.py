"""Layers that are alike become one matrix with differences: fewer bytes in the file and in memory, the same work."""

from __future__ import annotations

from .request import check_request
from .sharing import ShareReport, most_pairs, share

__all__ = ["ShareReport", "check_request", "most_pairs", "share"]
