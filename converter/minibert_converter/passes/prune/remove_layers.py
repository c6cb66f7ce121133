"""Removing whole layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import InputError
from minibert.reference import Reference
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.export import export
from minibert_converter.network import Float32Array, Network
from minibert_converter.passes.prune.request import Request
from minibert_converter.passes.prune.shrink import keep_layers
from minibert_converter.progress import Progress

#: Texts on which every candidate is tried.
_TRIED_TEXTS = 128


def prune_layers(network: Network, request: Request, tokens: Tokens | None, progress: Progress) -> None:
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


def _least_missed(network: Network, remove: int, tokens: Tokens, progress: Progress) -> list[int]:
    """Layers left after `remove` greedy steps."""
    tokens = tokens.sample(_TRIED_TEXTS)
    truth = _answers(network, range(len(network.architecture.layers)), tokens)
    kept = list(range(len(network.architecture.layers)))
    total = sum(len(kept) - step for step in range(remove))
    done = 0
    for _ in range(remove):
        losses = []
        for number in kept:
            progress("dropping layers", done, total)
            rest = [other for other in kept if other != number]
            losses.append(_distance(network, truth, _answers(network, rest, tokens)))
            done += 1
        kept.pop(int(np.argmin(losses)))
    progress("dropping layers", total, total)
    return kept


def _answers(network: Network, kept: list[int] | range, tokens: Tokens) -> Float32Array:
    """What the network answers with these layers alone."""
    smaller = replace(network, linears=dict(network.linears), norms=dict(network.norms))
    keep_layers(smaller, kept)
    reference = Reference(*export(smaller), every_token=True)
    return np.concatenate([reference.forward(ids, types) for ids, types in tokens.chunks()])


def _distance(network: Network, truth: Float32Array, answers: Float32Array) -> float:
    """How far answers moved: Kullback-Leibler divergence of a classifier's probabilities, else 1 - cosine."""
    if network.task.kind == "text-classification" and network.task.problem_type == "single_label":
        wanted, got = _log_softmax(truth), _log_softmax(answers)
        return float((np.exp(wanted) * (wanted - got)).sum(axis=1).mean())
    if network.task.kind == "text-classification":
        return float(np.square(truth - answers).mean())
    norms = np.linalg.norm(truth, axis=1) * np.linalg.norm(answers, axis=1)
    return float(1 - ((truth * answers).sum(axis=1) / np.maximum(norms, 1e-30)).mean())


def _log_softmax(x: Float32Array) -> np.ndarray:
    x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))
