"""The pass that lets layers drop tokens: PoWER-BERT's schedule (arXiv 2001.08950), without training.

Each layer lets through the tokens to which the first one attends most. The schedule says which part of a text's tokens
has survived after each layer; what it costs is measured on texts, against the model's own answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minibert.errors import InputError, UnsupportedError
from minibert_converter.calibration.outputs import likeness, outputs
from minibert_converter.calibration.tokens import MAX_OUTPUT_TEXTS, tokenize
from minibert_converter.network import Network
from minibert_converter.passes.base import Outcome
from minibert_converter.progress import OnProgress, no_progress


def prune_tokens(
    network: Network, left: Sequence[float], texts: Sequence[str] | None, progress: OnProgress = no_progress
) -> Outcome:
    """Lets layers drop tokens.

    Args:
        network: its architecture changes, no weight does.
        left: part of a text's tokens that goes on from the attention of each layer, none above the one before; layers
            for which nothing is said drop nothing more.
        texts: on which the loss is measured; None for the converter's own sentences.
        progress: called with the stage "pruning tokens".

    Returns:
        Details: the part of a text's tokens that goes on after each layer; for classifiers the part of the texts whose
        label stays, else None; the mean cosine between answers with and without pruning.

    Raises:
        InputError: parts that rise, that are not above 0 and up to 1, or too many of them.
        UnsupportedError: the network answers for each token, or its attention goes by places.
    """
    architecture = network.architecture
    if architecture.pooling == "none":
        raise UnsupportedError(f"tokens cannot be pruned: {network.task.kind} answers for each of them")
    if architecture.goes_by_places:
        raise UnsupportedError(f"tokens cannot be pruned: attention of {architecture.model_type} goes by their places")
    if architecture.layer_weights or not architecture.pool_prompt or "weighted_mean" in architecture.poolings:
        raise UnsupportedError("tokens cannot be pruned: pooling asks which tokens there were")
    parts = [*left, *[left[-1] if left else 1.0] * (len(architecture.layers) - len(left))]
    if len(parts) > len(architecture.layers):
        raise InputError(f"prune_tokens has {len(parts)} parts, the model {len(architecture.layers)} layers")
    before = 1.0
    layers = []
    for layer, part in zip(architecture.layers, parts, strict=True):
        if not 0 < part <= before:
            raise InputError(f"prune_tokens: parts must be above 0 and never rise, got {list(left)}")
        layers.append(replace(layer, keep_tokens=part / before))
        before = part
    chunks = tokenize(network, texts, MAX_OUTPUT_TEXTS, None).chunks_in_order()
    progress("pruning tokens", 0, 2)
    whole = outputs(network, chunks)
    network.architecture = replace(architecture, layers=tuple(layers))
    progress("pruning tokens", 1, 2)
    same, cosine = likeness(network.task, outputs(network, chunks), whole)
    kept = "" if same is None else f"{same:.1%} of the texts keep their label, "
    network.notes.append(f"tokens pruned to {parts[-1]:.0%} of a text: {kept}mean cosine to the whole {cosine:.4f}")
    progress("pruning tokens", 2, 2)
    return Outcome(details={"left": np.round(parts, 4).tolist(), "same_label": same, "cosine": cosine})
