"""The flags of `minibert convert` as a recipe, so that there is one road for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minibert.errors import InputError
from minibert_converter.recipe.recipe import Recipe

#: What `--quantize` takes.
FORMS = ("int8", "int4", "codebook", "none")


def recipe_of(
    *,
    vocab_from: str = "",
    prune: Sequence[str] = (),
    prune_method: str = "second-order",
    prune_budget: str | None = None,
    share: str = "",
    share_rank: int = 0,
    embeddings: Sequence[str] = (),
    quantize: str = "int8",
    prune_tokens: Sequence[float] = (),
    early_exit: Sequence[int] | None = None,
    exit_tolerance: float = 0.02,
    **shared: Any,
) -> Recipe:
    """The recipe that flags stand for: passes in the order in which each finds what it needs.

    Args:
        vocab_from: a file of texts whose words are kept; all words if empty.
        prune: what to remove; nothing if empty.
        prune_method: how it is chosen.
        prune_budget: whether of each matrix or of all together.
        share: layers that share their matrices; none if empty.
        share_rank: rank of each one's own difference.
        embeddings: forms of the embedding tables, one after another; what `quantize` makes of them if empty.
        quantize: one of FORMS; "none" leaves every weight as it is.
        prune_tokens: part of a text's tokens that is left after each layer; nothing if empty.
        early_exit: layers after which a text may leave, () to choose them; None for no exits.
        exit_tolerance: part of the texts whose label early exit may change.
        shared: keys of the recipe itself: seed, sparse_threshold.

    Raises:
        InputError: a value makes no sense.
    """
    if quantize not in FORMS:
        raise InputError(f"quantize {quantize!r} is none of {', '.join(FORMS)}")
    passes: list[dict[str, Any]] = []
    if vocab_from:
        passes.append({"vocab_from": str(vocab_from)})
    if prune:
        passes.append({"prune": _list(prune), "method": prune_method, "budget": prune_budget or ""})
    if share:
        passes.append({"share": share, "low_rank": share_rank})
    elif share_rank:
        raise InputError("a rank of differences is for layers that share: say which")
    if embeddings:
        passes.append({"embeddings": _list(embeddings)})
    if quantize != "none":
        passes.append({"quantize": quantize})
    if prune_tokens:
        passes.append({"prune_tokens": list(prune_tokens)})
    if early_exit is not None:
        passes.append({"early_exit": list(early_exit), "tolerance": exit_tolerance})
    return Recipe.from_json({"pass": passes, **shared})


def _list(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)
