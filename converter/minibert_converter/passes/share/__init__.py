"""Layers that are alike become one matrix with differences: fewer bytes in the file and in memory, the same work."""

from __future__ import annotations

from minibert_converter.passes.share.request import check_request
from minibert_converter.passes.share.sharing import most_pairs, share

__all__ = ["check_request", "most_pairs", "share"]
