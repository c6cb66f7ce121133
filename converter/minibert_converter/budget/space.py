"""What a search may choose from, written as passes of recipes; and what each choice is expected to weigh and take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minibert.engine.crossover import DENSITIES, TOKENS, ratios
from minibert.engine.library import chosen_isa
from minibert.format.constants import LANES, padded
from minibert_converter.export import CODEBOOK_DENSITY, SPARSE_THRESHOLD, WORDS
from minibert_converter.matrices import has_plain_head, is_plain
from minibert_converter.network import Network
from minibert_converter.passes.share.sharing import most_pairs
from minibert_converter.recipe import Recipe

#: Parts of a network that may be removed, by family, from least to most: what `--prune` takes.
PRUNING: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "blocks": tuple((f"4x4:{share}",) for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    "structures": tuple((f"heads:{share}", f"ffn:{share}") for share in (0.17, 0.25, 0.33, 0.42, 0.5, 0.6)),
}
#: The rank of what shared layers keep for themselves, as a part of the hidden size.
SHARED_RANK = 1 / 12
#: Of the time of a dense int8 model, what is not spent in its matrices (measured on MiniLM, 64 tokens, AVX512-VNNI).
OTHER_TIME = 0.22
#: Of a stored block of 16 weights by form: weights, index, and of int4 an eighth of four multipliers.
_BLOCK_BYTES = {"int8": 16 + 2, "int4": 8 + 2 + 0.5, "codebook": 16 + 2}
#: Tokens at which the rate of block-sparse products is taken from the engine's table.
_TOKENS = 64


@dataclass(frozen=True)
class Shape:
    """A matrix as a search sees it.

    Attributes:
        weights: outputs times inputs.
        density: the part of its 4x4 blocks that holds a weight.
        uses: layers that multiply by it.
    """

    weights: int
    density: float
    uses: int = 1


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
        time += shape.uses * shape.weights / max(speed, 1.0)
    return OTHER_TIME + (1 - OTHER_TIME) * time / dense


def stored_bytes(shape: Shape, form: str, per_weight: float) -> int:
    """Bytes that a matrix is expected to take.

    Args:
        shape: of the matrix.
        form: how its weights are kept.
        per_weight: bytes a weight of a dense matrix of this size in this form.
    """
    sparse = shape.density <= (CODEBOOK_DENSITY if form == "codebook" else SPARSE_THRESHOLD)
    return round(shape.weights * (_BLOCK_BYTES[form] / 16 * shape.density if sparse else per_weight))


def recipe_for(
    first: Sequence[Mapping[str, Any]],
    base: Sequence[Mapping[str, Any]],
    table: str,
    forms: Mapping[str, str],
    seed: int,
) -> Recipe:
    """The recipe of one choice.

    Args:
        first: passes ahead of all.
        base: what is pruned or shared.
        table: the form of the word embeddings.
        forms: the form of each matrix.
        seed: of the recipe.
    """
    passes: list[dict[str, Any]] = [dict(table) for table in (*first, *base)]
    if table != "int8":
        passes.append({"embeddings": table})
    usual = Counter(forms.values()).most_common(1)[0][0] if forms else "int8"
    others = {name: form for name, form in sorted(forms.items()) if form != usual}
    passes.append({"quantize": usual, **({"tensors": others} if others else {})})
    return Recipe.from_json({"pass": passes, "seed": seed})


def bases(network: Network) -> Mapping[str, Sequence[dict[str, Any]]]:
    """Passes that make a network smaller before its numbers are rounded, by family, from least to most."""
    if not is_plain(network.architecture) or not has_plain_head(network.architecture):
        return {}
    shared = any(name.startswith("layers.") for name in network.aliases)
    families = [name for name in PRUNING if name == "blocks" or not shared]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in families:
        found[name] = [{"prune": list(requests)} for requests in PRUNING[name]]
    if not shared:
        rank = padded(round(SHARED_RANK * network.architecture.hidden_size))
        pairs = range(1, most_pairs(network.architecture.layers) + 1)
        found["sharing"] = [{"share": f"similar:{count}", "low_rank": rank} for count in pairs]
    return found


def table_forms(network: Network) -> tuple[str, ...]:
    """Forms that the words may take: only int8 where they are the decoder of a fill-mask head too."""
    if WORDS not in network.tables:
        return ("int8",)
    rank = network.architecture.table_size // 3 // LANES * LANES
    return ("int8", "int4", "codebook", "codebook:8", *((f"low-rank:{rank}",) if rank else ()))
