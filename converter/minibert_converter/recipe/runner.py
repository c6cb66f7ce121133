"""Running a recipe: pass after pass over one network, counting what each left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from minibert.format.parts import Linear
from minibert.format.token_tables import PREFIX
from minibert_converter.export import SPARSE_THRESHOLD, export
from minibert_converter.network import LinearWeights, Network
from minibert_converter.passes.base import Context, Outcome, rounded
from minibert_converter.passes.prune.blocks import block_density
from minibert_converter.passes.prune.recipe import Prune
from minibert_converter.recipe.recipe import Recipe


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        parameters: numbers that its tensors store: weights, entries of tables, biases; not scales and indices.
        bytes: bytes of its tensors in a file, the tokenizer included.
        macs: multiplications for one token by the encoder's matrices, blocks of zeros and attention itself not counted.
    """

    parameters: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class PassReport:
    """What one pass did.

    Attributes:
        step: the pass as the recipe has it.
        size: the network after it.
        outcome: what the pass says itself.
        seconds: time it took.
    """

    step: dict[str, Any]
    size: Size
    outcome: Outcome
    seconds: float = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """What the file keeps: all but the time, so that the same recipe gives the same bytes."""
        errors = rounded({name: error for name, error in self.outcome.errors.items() if error})
        return {"pass": self.step, **asdict(self.size), "errors": errors, "details": dict(self.outcome.details)}


def run(
    recipe: Recipe, network: Network, context: Context, done: tuple[int, Sequence[PassReport]] = (0, ())
) -> list[PassReport]:
    """Does to the network what the recipe says.

    What a sparse checkpoint had pruned is read in any case, ahead of everything where the recipe itself doesn't prune.

    Args:
        recipe: what is done.
        network: it changes.
        context: of the passes.
        done: so many passes of the recipe the network has been through already, and what `run` returned of them.

    Returns:
        What each pass did.
    """
    context = replace(context, sparse_threshold=recipe.sparse_threshold)
    first, reports, settled = done[0], list(done[1]), list(recipe.passes[: done[0]])
    steps = [(step, True) for step in recipe.passes[first:]]
    if not first and not any(isinstance(each, Prune) for each in recipe.passes):
        steps = [(Prune(), False), *steps]
    for step, asked in steps:
        if asked:
            context.begin()
        if step.for_layers and not network.architecture.layers:
            if asked:
                network.need_layers(step.verb())
            continue
        start = time.perf_counter()
        step = context.settle(step, network)
        outcome = step.run(network, context)
        settled += [step] * asked
        if asked or outcome.details:
            seconds = time.perf_counter() - start
            reports.append(PassReport(step.to_json(), measure(network, recipe.sparse_threshold), outcome, seconds))
    network.recipe = replace(recipe, passes=tuple(settled)).to_json()
    return reports


def measure(network: Network, threshold: float = SPARSE_THRESHOLD) -> Size:
    """Counts what a network stores and multiplies."""
    config, tensors = export(network, threshold)
    stored = {name: tensor for name, tensor in tensors.items() if name not in config.aliases}
    network_only = {name: tensor for name, tensor in stored.items() if not name.startswith(PREFIX)}
    macs = sum(
        round(_density(network, name, linear) * linear.in_features * linear.out_features)
        for name, linear in config.linears.items()
        if name.startswith(("layers.", "embeddings."))
    )
    counted = ("weight", "blocks", "bias")
    parameters = sum(tensor.size for name, tensor in network_only.items() if name.rpartition(".")[2] in counted)
    parameters += sum(2 * tensor.size for name, tensor in network_only.items() if name.endswith(".codes"))
    return Size(parameters, sum(tensor.nbytes for tensor in stored.values()), macs)


def _density(network: Network, name: str, linear: Linear) -> float:
    """The part of a matrix that is multiplied, or will be once it is quantized."""
    now = network.linears[network.aliases.get(name, name)]
    if isinstance(now, LinearWeights):
        return block_density(now.weight, np.ones(now.weight.shape, bool))
    return linear.density
