"""What a search may choose from, written as passes of recipes; and what each choice is expected to weigh and take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minibert.engine.choice import DENSITIES, TOKENS, ratios
from minibert.engine.library import chosen_isa
from minibert.format.schema import LANES

from ..export import WORDS
from ..network import Network
from ..recipe import Recipe
from ..recipe.passes import MATRIX_FORMS

#: How a network may be thinned before its numbers are rounded, by family, from least to most. The first is not at all.
FAMILIES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "blocks": tuple((f"4x4:{share}",) for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    "structures": tuple((f"heads:{share}", f"ffn:{share}") for share in (0.17, 0.25, 0.33, 0.42, 0.5, 0.6)),
}
#: Of the time of a dense int8 model, what is not spent in its matrices (measured on MiniLM, 64 tokens, AVX512-VNNI).
OTHER_TIME = 0.22
#: Tokens at which the rate of block-sparse products is taken from the engine's table.
_TOKENS = 64


@dataclass(frozen=True)
class Shape:
    """A matrix as a search sees it.

    Attributes:
        weights: outputs times inputs.
        density: the part of its 4x4 blocks that holds a weight.
    """

    weights: int
    density: float


def latency_ratio(shapes: Mapping[str, Shape], dense: int) -> float:
    """The time of a model as a part of that of its dense int8 twin, estimated.

    Matrices take time by their multiplications, divided for block-sparse ones by how many times as fast as dense the
    engine found them (`minibert warmup` measures it; else figures of another machine); what is no matrix takes
    OTHER_TIME as before.

    Args:
        shapes: the matrices of the encoder.
        dense: weights of all of them before anything was removed.
    """
    rows = ratios(chosen_isa()).ratios
    column = TOKENS.index(_TOKENS)
    speeds = [row[column] for row in rows]
    time = 0.0
    for shape in shapes.values():
        # Sparser than the sparsest that was measured: as fast as that for each block that is left.
        speed = float(np.interp(shape.density, DENSITIES[::-1], speeds[::-1])) if shape.density < 1 else 1.0
        time += shape.weights / max(speed, 1.0)
    return OTHER_TIME + (1 - OTHER_TIME) * time / dense


def stored_bytes(shape: Shape, form: str, per_weight: float, threshold: float) -> int:
    """Bytes that a matrix is expected to take.

    Args:
        shape: of the matrix.
        form: how its weights are kept.
        per_weight: bytes a weight of a dense matrix of this size in this form.
        threshold: up to which density an int8 matrix is stored as blocks.
    """
    if form == "int8" and shape.density <= threshold:
        return round(shape.weights * (per_weight - 1 + 18 / 16 * shape.density))
    return round(shape.weights * per_weight)


def recipe_for(
    first: Sequence[Mapping[str, Any]],
    requests: tuple[str, ...],
    table: str,
    forms: Mapping[str, str],
    seed: int,
    threshold: float,
) -> Recipe:
    """The recipe of one choice.

    Args:
        first: passes ahead of all.
        requests: what is pruned.
        table: the form of the word embeddings.
        forms: the form of each matrix.
        seed: of the recipe.
        threshold: of the recipe.
    """
    passes: list[dict[str, Any]] = [dict(table) for table in first]
    if requests:
        passes.append({"prune": list(requests)})
    if table != "int8":
        passes.append({"embeddings": table})
    usual = Counter(forms.values()).most_common(1)[0][0] if forms else "int8"
    others = {name: form for name, form in sorted(forms.items()) if form != usual}
    passes.append({"quantize": usual, **({"tensors": others} if others else {})})
    return Recipe.from_json({"pass": passes, "seed": seed, "sparse_threshold": threshold})


def table_forms(network: Network) -> tuple[str, ...]:
    """Forms that the words may take: only int8 where they are the decoder of a fill-mask head too."""
    if WORDS not in network.tables:
        return ("int8",)
    rank = network.architecture.table_size // 3 // LANES * LANES
    return ("int8", "int4", "codebook", "codebook:8", *((f"low-rank:{rank}",) if rank else ()))


__all__ = ["FAMILIES", "MATRIX_FORMS", "Shape", "latency_ratio", "recipe_for", "stored_bytes", "table_forms"]
