"""Removing whole layers."""

from __future__ import annotations

import numpy as np

from minibert.errors import InputError
from minibert_converter.calibration.outputs import distance, outputs
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.network import Float32Array, Network
from minibert_converter.passes.prune.request import Request
from minibert_converter.passes.prune.shrink import keep_layers
from minibert_converter.progress import OnProgress

#: Texts on which every candidate is tried.
_TRIED_TEXTS = 128


def prune_layers(network: Network, request: Request, tokens: Tokens | None, progress: OnProgress) -> None:
    """Takes out the layers named, or as many as asked for.

    With calibration texts, one layer goes at a time: the one without which the answers move least, as measured.
    Without, the last ones go: a fine-tuned BERT misses its top layers least (Sajjad et al., arXiv 2004.03844).

    Raises:
        InputError: a number that is no layer, or no layer would be left.
    """
    count = len(network.architecture.layers)
    wrong = [number for number in request.numbers if number >= count]
    if wrong:
        raise InputError(f"prune {request.text!r}: the model has layers 0 to {count - 1}, and no layer {wrong[0]}")
    remove = len(request.numbers) or request.count or round(request.amount * count)
    if remove >= count:
        raise InputError(f"prune {request.text!r}: the model has {count} layers, and one at least must stay")
    kept = [number for number in range(count) if number not in request.numbers]
    if not request.numbers:
        kept = kept[: count - remove] if tokens is None else _least_missed(network, remove, tokens, progress)
    keep_layers(network, kept)


def _least_missed(network: Network, remove: int, tokens: Tokens, progress: OnProgress) -> list[int]:
    """Layers left after `remove` greedy steps."""
    tokens = tokens.sample(_TRIED_TEXTS)
    kept = list(range(len(network.architecture.layers)))
    wanted = _outputs(network, kept, tokens)
    total = sum(len(kept) - step for step in range(remove))
    done = 0
    for _ in range(remove):
        losses = []
        for number in kept:
            progress("dropping layers", done, total)
            rest = [other for other in kept if other != number]
            losses.append(distance(network.task, _outputs(network, rest, tokens), wanted))
            done += 1
        kept.pop(int(np.argmin(losses)))
    progress("dropping layers", total, total)
    return kept


def _outputs(network: Network, kept: list[int], tokens: Tokens) -> Float32Array:
    """What the network returns with these layers alone."""
    smaller = network.copy()
    keep_layers(smaller, kept)
    return outputs(smaller, tokens.chunks())
