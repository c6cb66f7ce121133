"""What a search may choose from, written as passes of recipes; and what each choice is expected to weigh and take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minibert.format.constants import LANES, padded
from minibert_converter.budget.targets import Target, stored_as_blocks
from minibert_converter.export import WORDS
from minibert_converter.matrices import has_plain_head, is_plain
from minibert_converter.network import Network
from minibert_converter.passes.share.sharing import most_pairs
from minibert_converter.recipe import Recipe

#: Parts of a network that may be removed, by family, from least to most: what `--prune` takes.
PRUNING: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "blocks": tuple((f"4x4:{share}",) for share in (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)),
    "structures": tuple((f"heads:{share}", f"ffn:{share}") for share in (0.17, 0.25, 0.33, 0.42, 0.5, 0.6)),
}
#: The rank of what shared layers keep for themselves, as a part of the hidden size.
SHARED_RANK = 1 / 12
#: Of the time of a dense int8 model, what is not spent in its matrices (measured on MiniLM, 64 tokens, AVX512-VNNI).
OTHER_TIME = 0.22
#: Bytes a weight of a dense matrix, what belongs to its outputs aside.
PER_WEIGHT = {"int8": 1.0, "int4": 0.5 + 1 / 32, "codebook": 0.5}
#: Of a stored block of 16 weights by form: weights, index, and of int4 an eighth of four multipliers.
_BLOCK_BYTES = {"int8": 16 + 2, "int4": 8 + 2 + 0.5, "codebook": 16 + 2}
#: How much faster a file has to be to be worth twice the bytes: 5%.
BYTES_WORTH = 0.1
_LEAST_GAIN = 0.01
#: From the least loss to the most.
FORMS = ("int8", "int4", "codebook")


@dataclass(frozen=True)
class Shape:
    """A matrix as a search sees it.

    Attributes:
        weights: outputs times inputs.
        density: the part of its 4x4 blocks that holds a weight.
        uses: layers that multiply by it.
        own: bytes of its scales, sums, bias and factors, which it has in every form.
    """

    weights: int
    density: float
    uses: int = 1
    own: int = 0


def time_of(shape: Shape, form: str, target: Target) -> float:
    """The time that a matrix in a form takes on a target, in dense int8 weights."""
    return shape.uses * shape.weights / target.speed(form, shape.density)


def latency_ratio(shapes: Mapping[str, Shape], forms: Mapping[str, str], dense: int, target: Target) -> float:
    """The time of a model as a part of that of its dense int8 twin, estimated.

    Matrices take time by their multiplications, divided by how many times as fast as dense int8 they are on the target;
    what is no matrix takes OTHER_TIME as before.

    Args:
        shapes: the matrices of the encoder.
        forms: how weights are kept, by name of a matrix.
        dense: weights of all of them before anything was removed.
        target: where the model will answer.
    """
    time = sum(time_of(shape, forms.get(name, "int8"), target) for name, shape in shapes.items())
    return OTHER_TIME + (1 - OTHER_TIME) * time / dense


def forms_worth_trying(shapes: Mapping[str, Shape], target: Target) -> tuple[str, ...]:
    """Forms of which each is better on the target by _LEAST_GAIN, in time and bytes, than all that lose less."""
    found: dict[str, float] = {}
    for form in FORMS:
        worth = sum(worth_of(shape, form, target) for shape in shapes.values())
        if all(worth <= other * (1 - _LEAST_GAIN) for other in found.values()):
            found[form] = worth
    return tuple(found)


def worth_of(shape: Shape, form: str, target: Target) -> float:
    """Time and, for a little, bytes of a matrix in a form on a target: the less, the better."""
    return time_of(shape, form, target) + BYTES_WORTH * stored_bytes(shape, form, PER_WEIGHT[form])


def stored_bytes(shape: Shape, form: str, per_weight: float) -> int:
    """Bytes that a matrix is expected to take.

    Args:
        shape: of the matrix.
        form: how its weights are kept.
        per_weight: bytes a weight of a dense matrix of this size in this form, what it has in every form included.
    """
    if stored_as_blocks(form, shape.density):
        return round(shape.weights * _BLOCK_BYTES[form] / 16 * shape.density) + shape.own
    return round(shape.weights * per_weight)


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
        passes.append(words_pass(table))
    usual = Counter(forms.values()).most_common(1)[0][0] if forms else "int8"
    others = {name: form for name, form in sorted(forms.items()) if form != usual}
    passes.append({"quantize": usual, **({"tensors": others} if others else {})})
    return Recipe.from_json({"pass": passes, "seed": seed})


def bases(network: Network) -> Mapping[str, Sequence[dict[str, Any]]]:
    """Passes that make a network smaller before its numbers are rounded, by family, from least to most."""
    if not is_plain(network.architecture) or not has_plain_head(network.architecture):
        return {}
    shared = any(name.startswith("layers.") for name in network.aliases)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, levels in PRUNING.items():
        if name == "blocks" or not shared:
            found[name] = [{"prune": list(requests)} for requests in levels]
    if not shared:
        rank = padded(round(SHARED_RANK * network.architecture.hidden_size))
        pairs = range(1, most_pairs(network.architecture.layers) + 1)
        found["sharing"] = [{"share": f"similar:{count}", "low_rank": rank} for count in pairs]
        found["layers"] = [{"prune": [f"layers:{count}"]} for count in _removable(network)]
    # What takes long to measure comes last.
    return dict(sorted(found.items(), key=lambda each: each[0] == "blocks"))


def combinations(network: Network) -> Sequence[Sequence[dict[str, Any]]]:
    """Passes of two families together, blocks of what layers are left, by layers that go: each from least to most."""
    if "layers" not in bases(network):
        return ()
    return [[{"prune": [f"layers:{gone}", *each]} for each in PRUNING["blocks"]] for gone in _removable(network)]


def _removable(network: Network) -> range:
    """Numbers of layers that may go: up to half of them."""
    return range(1, len(network.architecture.layers) // 2 + 1)


def words_pass(form: str) -> dict[str, Any]:
    """The pass that brings the words into a form, such as "codebook" or, one after another, "low-rank:128+int4"."""
    forms = form.split("+")
    return {"embeddings": forms[0] if len(forms) == 1 else forms}


def said(base: Sequence[Mapping[str, Any]]) -> str:
    """Passes that prune or share, for people: "prune 4x4:0.5"."""
    words = []
    for one in base:
        words += [f"prune {' '.join(one['prune'])}"] if "prune" in one else []
        words += [f"share {one['share']}"] if "share" in one else []
    return ", ".join(words)


def table_forms(network: Network) -> tuple[str, ...]:
    """Forms that the words may take: only int8 where they are the decoder of a fill-mask head too."""
    if WORDS not in network.tables:
        return ("int8",)
    rank = _rank(network, 3)
    return ("int8", "int4", "codebook", "codebook:8", *((f"low-rank:{rank}",) if rank else ()))


def small_table_forms(network: Network) -> tuple[str, ...]:
    """Forms in fewer bytes, which are tried where none of `table_forms` is small enough."""
    if WORDS not in network.tables:
        return ()
    third, sixth = _rank(network, 3), _rank(network, 6)
    narrow = (f"low-rank:{third}+int4", f"low-rank:{third}+codebook:8") if third else ()
    return (*narrow, *((f"low-rank:{sixth}+int4",) if sixth else ()), "codebook:16")


def _rank(network: Network, part: int) -> int:
    return network.architecture.table_size // part // LANES * LANES
