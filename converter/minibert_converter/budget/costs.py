"""What steps of a search cost, times rounding all matrices to int8: for the time that is said to be left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Of the outputs that one matrix changes.
_OUTPUTS = 0.05
_WORDS = {"int8": 0.1, "int4": 0.15, "codebook": 0.6, "low-rank": 0.2}
#: Of blocks that are scored once, then cut at any share.
_SCORING, _REMOVING = 7.0, {"blocks": 1.8, "structures": 1.6, "sharing": 0.8, "layers": 0.5}
#: Of measuring what a network is and loses.
_MEASURING = 0.2
#: Of a file.
FILE_COST = 1.3


def form_cost(form: str, matrices: int) -> float:
    """Of a form of so many matrices, each of which is tried alone."""
    return 1.0 if form == "int8" else 1.1 + _OUTPUTS * matrices


def words_cost(form: str) -> float:
    """Of a form of the words (see `space.words_pass`)."""
    return sum(_WORDS[each.partition(":")[0]] for each in form.split("+"))


def base_cost(base: Sequence[Mapping[str, Any]], *, scored: bool) -> float:
    """Of passes that prune or share.

    Args:
        base: the passes.
        scored: whether blocks of the whole network have been scored.
    """
    cost = _MEASURING
    for one in base:
        requests = one.get("prune", ())
        for request in requests:
            kind = request.partition(":")[0]
            family = kind if kind == "layers" else "structures" if kind in ("heads", "ffn") else "blocks"
            cost += _REMOVING[family]
            if family == "blocks" and not (scored and len(requests) == 1):
                cost += _SCORING
        cost += _REMOVING["sharing"] * ("share" in one)
    return cost
