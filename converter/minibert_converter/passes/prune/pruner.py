"""The pass that prunes a network: what was asked for, in the order in which each step sees the least of the others.

Zeros that are there already are read first, then whole layers go, then heads and neurons (and what is left of the
layers is fitted again), then blocks of the weights that remain. Quantization comes after and keeps every zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from minibert.errors import UnsupportedError
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.matrices import encoder_names, is_plain, real_rows_and_columns
from minibert_converter.network import Network
from minibert_converter.passes.prune.blocks import Budget, encoder_densities
from minibert_converter.passes.prune.detect import Found, find_zeros, remove_dead
from minibert_converter.passes.prune.remove_blocks import prune_blocks
from minibert_converter.passes.prune.remove_layers import prune_layers
from minibert_converter.passes.prune.remove_structures import prune_structures
from minibert_converter.passes.prune.request import Request, parse_requests
from minibert_converter.progress import OnProgress, no_progress

Method = Literal["second-order", "magnitude"]


@dataclass(frozen=True)
class PrunedTensor:
    """What pruning left of one matrix.

    Attributes:
        density: part of its 4x4 blocks with a weight other than zero, padding not counted.
        error: relative error added to what it returns for the inputs it had before, on calibration texts: root of the
            mean square error over the standard deviation. After heads or neurons were removed, that of the sum that
            enters the LayerNorm, errors of earlier layers included.
    """

    density: float
    error: float


@dataclass(frozen=True)
class PruneReport:
    """What the pass did.

    Attributes:
        requests: what was asked for, as it was written.
        method: how what to remove was chosen.
        budget: whether every matrix or layer lost the same part, or all together.
        texts: calibration texts given (or that ship).
        found: what the zeros of the checkpoint's matrices looked like, by name; only those that are not dense.
        dead_heads: heads taken out because they changed no answer.
        dead_neurons: neurons taken out because they changed no answer.
        layers: sizes of each remaining layer: its number in the checkpoint, heads, FFN neurons.
        tensors: by name of a matrix, what is left of it.
        densities: by name of a matrix in the checkpoint, the part of its weights in 4x4 blocks that are left.
    """

    requests: tuple[str, ...]
    method: Method
    budget: Budget
    texts: int
    found: dict[str, Found]
    dead_heads: int
    dead_neurons: int
    layers: tuple[tuple[int, int, int], ...] = ()
    tensors: dict[str, PrunedTensor] = field(default_factory=dict)
    densities: dict[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether there was anything to prune or to find."""
        return bool(self.requests or self.found or self.dead_heads or self.dead_neurons)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        value = asdict(self)
        value["found"] = {name: _rounded(asdict(one)) for name, one in self.found.items()}
        value["tensors"] = {name: _rounded(asdict(one)) for name, one in self.tensors.items()}
        value["layers"] = [dict(zip(("number", "num_heads", "ffn_size"), each, strict=True)) for each in self.layers]
        value["densities"] = _rounded(self.densities)
        return {**value, "requests": list(self.requests)}


def prune(
    network: Network,
    requests: Sequence[str],
    method: Method,
    budget: Budget | None,
    *,
    texts: Sequence[str] | None = None,
    progress: OnProgress | None = None,
) -> PruneReport:
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
    wanted = tuple(request.text for request in asked.values())
    report = PruneReport(wanted, method, chosen, 0, found, dead_heads, dead_neurons)
    if found:
        network.notes.append(_describe(found, dead_heads, dead_neurons))
    if not asked:
        return _finish(report, network, sizes, {})

    tokens = tokenize(network, texts)
    calibrated = method == "second-order"
    if (request := asked.get("layers")) is not None:
        prune_layers(network, request, tokens if calibrated else None, progress)
    errors: dict[str, float] = {}
    if structures := [asked[kind] for kind in ("heads", "ffn") if kind in asked]:
        errors = prune_structures(network, structures, tokens, chosen, progress, calibrated=calibrated)
    if (request := asked.get("blocks")) is not None:
        added = prune_blocks(network, request, tokens, chosen, progress, calibrated=calibrated)
        _note_fine_blocks(network, request)
        errors = {name: math.hypot(error, errors.get(name, 0.0)) for name, error in added.items()}
    return _finish(replace(report, texts=len(tokens.ids)), network, sizes, errors)


def _sizes(network: Network) -> dict[str, int]:
    """Weights of each matrix of the encoder without padding, by its name in the checkpoint."""
    sizes = {}
    for name in encoder_names(network):
        rows, columns = real_rows_and_columns(network.architecture, name)
        sizes[network.checkpoint_name(name)] = int(rows.sum() * columns.sum())
    return sizes


def _finish(report: PruneReport, network: Network, sizes: dict[str, int], errors: Mapping[str, float]) -> PruneReport:
    """The report with what is left of the checkpoint's matrices, whose `sizes` are those before."""
    left, stored = _sizes(network), encoder_densities(network)
    tensors = {name: PrunedTensor(density, errors.get(name, 0.0)) for name, density in stored.items()}
    parts = dict(zip(left, stored.values(), strict=True))
    densities = {name: parts.get(name, 0.0) * left.get(name, 0) / size for name, size in sizes.items()}
    return replace(report, layers=_layers(network), tensors=tensors, densities=densities)


def _layers(network: Network) -> tuple[tuple[int, int, int], ...]:
    layers = zip(network.checkpoint_layers, network.architecture.layers, strict=True)
    return tuple((number, layer.num_heads, layer.ffn_size) for number, layer in layers)


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


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
