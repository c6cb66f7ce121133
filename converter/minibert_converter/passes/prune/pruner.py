"""The pass that prunes a network: what was asked for, in the order in which each step sees the least of the others.

Zeros that are there already are read first, then whole layers go, then heads and neurons (and what is left of the
layers is fitted again), then blocks of the weights that remain. Quantization comes after and keeps every zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from minibert.errors import UnsupportedError
from minibert_converter.calibration.tokens import Tokens, tokenize
from minibert_converter.matrices import encoder_names, is_plain, real_rows_and_columns
from minibert_converter.network import Network
from minibert_converter.passes.base import Outcome, rounded
from minibert_converter.passes.prune.blocks import Budget, encoder_densities
from minibert_converter.passes.prune.detect import Found, find_zeros, remove_dead
from minibert_converter.passes.prune.remove_blocks import prune_blocks
from minibert_converter.passes.prune.remove_layers import prune_layers
from minibert_converter.passes.prune.remove_structures import prune_structures
from minibert_converter.passes.prune.request import Request, parse_requests
from minibert_converter.progress import OnProgress, no_progress

Method = Literal["second-order", "magnitude"]


def prune(
    network: Network,
    requests: Sequence[str],
    method: Method,
    budget: Budget | None,
    *,
    texts: Sequence[str] | None = None,
    progress: OnProgress | None = None,
    memory: MutableMapping[str, Mapping[str, Any]] | None = None,
) -> Outcome:
    """Prunes a float32 network, and takes out what a sparse checkpoint had pruned already.

    Only the matrices of the encoder are pruned, neither embeddings nor heads of the task.

    Args:
        network: `architecture`, `linears` and `norms` get new entries; no array of it is changed.
        requests: what to remove, such as "4x4:0.8", "heads:0.33", "ffn:0.5", "layers:2" (see `parse_request`).
        method: "second-order" removes what changes the answers to calibration texts least; "magnitude" the smallest
            weights, and reads texts only to measure what that cost.
        budget: "matrix" removes the same part of every matrix (of blocks) or layer (of heads and neurons), "global"
            chooses where. None is "global" for "second-order", whose scores say what an error costs in the end, and
            "matrix" for "magnitude", whose scores do not.
        texts: what the model will read, or like it; None takes the sentences that ship with the converter.
        progress: called with the stages "dropping layers", "calibrating", "fitting", "scoring blocks" and
            "measuring".
        memory: as a `Context` has it: scores of blocks are the same for every share that is removed.

    Returns:
        Errors of matrices; after heads or neurons were removed, that of the sum that enters the LayerNorm, errors of
        earlier layers included. Details, if there was anything to prune or to find: what was asked for, the method,
        budget and number of calibration texts; what zeros the checkpoint's matrices had, where they aren't dense; heads
        and neurons taken out because they changed no answer; sizes of the layers that are left, each with its number
        in the checkpoint; densities and errors of matrices, and the densities of those in the checkpoint.

    Raises:
        InputError: a request that makes no sense, or texts without a token.
        UnsupportedError: pruning is asked of a network with rotary positions, gates, norms ahead or position biases.
    """
    asked = {request.kind: request for request in parse_requests(requests)}
    if asked and not is_plain(network.architecture):
        raise UnsupportedError(
            f"models of the family {network.architecture.model_type} cannot be pruned yet: convert it without pruning"
        )
    progress = progress or no_progress
    sizes = _sizes(network)
    found = {name: one for name, one in find_zeros(network).items() if one.pattern != "dense"}
    dead_heads, dead_neurons = remove_dead(network) if found else (0, 0)
    chosen: Budget = budget or ("global" if method == "second-order" else "matrix")
    if found:
        network.notes.append(_describe(found, dead_heads, dead_neurons))
    tokens = tokenize(network, texts) if asked else None
    errors: dict[str, float] = {}
    if tokens is not None:
        errors = _remove(network, asked, tokens, chosen, progress, memory, calibrated=method == "second-order")

    left, stored = _sizes(network), encoder_densities(network)
    parts = dict(zip(left, stored.values(), strict=True))
    densities = {name: parts.get(name, 0.0) * left.get(name, 0) / size for name, size in sizes.items()}
    errors = {name: errors.get(name, 0.0) for name in stored}
    if not asked and not found:
        return Outcome(errors, densities)
    layers = zip(network.checkpoint_layers, network.architecture.layers, strict=True)
    details = {
        "requests": [request.text for request in asked.values()],
        "method": method,
        "budget": chosen,
        "texts": 0 if tokens is None else len(tokens.ids),
        "found": {name: rounded(asdict(one)) for name, one in found.items()},
        "dead_heads": dead_heads,
        "dead_neurons": dead_neurons,
        "layers": [
            {"number": number, "num_heads": layer.num_heads, "ffn_size": layer.ffn_size} for number, layer in layers
        ],
        "tensors": {name: rounded({"density": stored[name], "error": errors[name]}) for name in stored},
        "densities": rounded(densities),
    }
    return Outcome(errors, densities, details)


def _remove(
    network: Network,
    asked: dict[str, Request],
    tokens: Tokens,
    budget: Budget,
    progress: OnProgress,
    memory: MutableMapping[str, Mapping[str, Any]] | None,
    *,
    calibrated: bool,
) -> dict[str, float]:
    """Takes out what is asked for; the error of each matrix."""
    if (request := asked.get("layers")) is not None:
        prune_layers(network, request, tokens if calibrated else None, progress)
    errors: dict[str, float] = {}
    if structures := [asked[kind] for kind in ("heads", "ffn") if kind in asked]:
        errors = prune_structures(network, structures, tokens, budget, progress, calibrated=calibrated)
    if (request := asked.get("blocks")) is not None:
        added = prune_blocks(network, request, tokens, budget, progress, memory, calibrated=calibrated)
        _note_fine_blocks(network, request)
        errors = {name: math.hypot(error, errors.get(name, 0.0)) for name, error in added.items()}
    return errors


def _sizes(network: Network) -> dict[str, int]:
    """Weights of each matrix of the encoder without padding, by its name in the checkpoint."""
    sizes = {}
    for name in encoder_names(network):
        rows, columns = real_rows_and_columns(network.architecture, name)
        sizes[network.checkpoint_name(name)] = int(rows.sum() * columns.sum())
    return sizes


def _describe(found: dict[str, Found], heads: int, neurons: int) -> str:
    """A sentence about a sparse checkpoint."""
    patterns = sorted({one.pattern for one in found.values()})
    least, most = min(one.sparsity for one in found.values()), max(one.sparsity for one in found.values())
    zeros = f"{least:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
    words = f"the checkpoint is sparse: {zeros} of the weights of {len(found)} matrices are zero"
    words += f" ({', '.join(patterns)})"
    if heads or neurons:
        words += f"; {heads} heads and {neurons} neurons that changed no answer were taken out"
    return words


def _note_fine_blocks(network: Network, request: Request) -> None:
    """Says what the engine gains of blocks that do not consist of 4x4 ones."""
    if request.rows % 4 == 0 and request.columns % 4 == 0:
        return
    sizes = list(_sizes(network).values())
    density = np.average(list(encoder_densities(network).values()), weights=sizes)
    network.notes.append(
        f"{request.text}: of the engine's 4x4 blocks {density:.0%} still hold a weight, and only the others "
        "save time and bytes; 4x4 is the pattern that saves in full"
    )
