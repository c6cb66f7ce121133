"""Cutting a batch into chunks of whole texts, so that memory is bounded and threads have something to share."""

from __future__ import annotations

import numpy as np

#: Tokens that go through all layers together: enough rows to reuse each weight panel from cache, few enough that the
#: rows themselves stay in a 1 MB second-level cache.
CHUNK_TOKENS = 192

_ONE_TEXT = np.array([[0, 1]], np.int64)


def cut(starts: np.ndarray, budget: int) -> np.ndarray:
    """Spans of consecutive texts with at most `budget` tokens each; a longer text is a span of its own.

    Args:
        starts: int64 [texts + 1], where each text starts in the packed batch.
        budget: tokens a span should not exceed.

    Returns:
        int64 [spans, 2]: pairs of first text and end text that cover all texts in order.
    """
    if len(starts) == 2:
        return _ONE_TEXT
    spans = []
    first, texts = 0, len(starts) - 1
    while first < texts:
        end = int(np.searchsorted(starts, starts[first] + budget, side="right")) - 1
        end = min(max(end, first + 1), texts)
        spans.append((first, end))
        first = end
    return np.array(spans, np.int64).reshape(-1, 2)
