"""Cutting a batch into chunks of whole texts, so that memory is bounded and threads have something to share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from minibert.format.parts import Linear

#: Tokens that go through all layers together: enough rows to reuse each weight panel from cache, few enough that the
#: rows themselves stay in a 1 MB second-level cache.
CHUNK_TOKENS = 192
#: Where a layer's weights come from beyond that cache in any case, it is better that more rows use them once they are
#: there. (For 7 MB a layer this is 1.2 times as fast with AMX, and 1.03 times with AVX-512; for 2 MB it is slower.)
MANY_TOKENS, LARGE_LAYER = 512, 4 << 20

_ONE_TEXT = np.array([[0, 1]], np.int64)


def chunk_tokens(linears: Mapping[str, Linear]) -> int:
    """How many tokens should go through all layers of a model together, by the weights of its largest layer."""
    layers: Counter[str] = Counter()
    for name, linear in linears.items():
        if name.startswith("layers."):
            layers[name.split(".")[1]] += linear.blocks * 16 or linear.in_features * linear.out_features
    return MANY_TOKENS if max(layers.values(), default=0) > LARGE_LAYER else CHUNK_TOKENS


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


def cut_evenly(starts: np.ndarray, budget: int, workers: int) -> np.ndarray:
    """Spans as `cut` makes them, shorter ones if otherwise some of the workers would be without while others have two.

    Spans of CHUNK_TOKENS are short enough.
    """
    tokens, texts = int(starts[-1]), len(starts) - 1
    most = workers * -(-tokens // (workers * budget))
    # Whole texts rarely fill a span: with so much more for each, they may not come to one span more.
    for spare in (0, tokens // (2 * texts), tokens // texts):
        share = max(CHUNK_TOKENS, -(-tokens // most) + spare)
        spans = cut(starts, min(budget, share))
        if share >= budget or len(spans) <= most:
            break
    return spans
