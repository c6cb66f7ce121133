"""What a file will weigh and take, by shapes alone: before anything is measured, and where time is too short for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minibert.format.constants import NIBBLE_GROUP, padded
from minibert_converter.budget.space import FORMS, PER_WEIGHT, Shape, latency_ratio, stored_bytes
from minibert_converter.budget.targets import Target
from minibert_converter.export import WORDS, export, table_tensors
from minibert_converter.matrices import PARTS
from minibert_converter.network import LinearWeights, Network, TiedLinear
from minibert_converter.passes.embeddings.compress import parse_form
from minibert_converter.passes.prune.blocks import block_density
from minibert_converter.passes.prune.request import parse_requests

#: What each tensor adds to a file beside its numbers, about: in the header, recipe and report included, and what it is
#: aligned by. It is known when the file is made.
HEADER_BYTES = 230
#: What forms lose in models like MiniLM, of all matrices together, beside int8, and of the words: a guess for where
#: there was no time to measure.
TYPICAL_LOSS: Mapping[str, float] = {"int8": 0.0, "codebook": 0.03, "int4": 0.02}
TYPICAL_WORDS: Mapping[str, float] = {"int8": 0.0, "int4": 0.005, "codebook": 0.025, "low-rank": 0.3}
#: What is lost without layers, blocks and the like, times the part of the weights that goes.
_TYPICAL_GONE = 0.2


@dataclass(frozen=True)
class Frame:
    """A network by its shapes.

    Attributes:
        beside: bytes of a file but for the words and the encoder's matrices: tokenizer, norms, head, header.
        rows: words that have a table of their own; 0 where there is none.
        width: columns of that table.
        shapes: the encoder's matrices by name.
        target: where the model will answer.
    """

    beside: int
    rows: int
    width: int
    shapes: Mapping[str, Shape]
    target: Target

    def words(self, form: str) -> int:
        """Bytes of the words in a form (see `space.words_pass`)."""
        return words_bytes(form, self.rows, self.width)

    def matrices(self, base: Sequence[Mapping[str, Any]] = ()) -> int:
        """The least bytes of the encoder's matrices after passes that prune or share."""
        shapes, own = after(self.shapes, base)
        return own + sum(
            min(stored_bytes(shape, form, per_weight(shape, form)) for form in FORMS) for shape in shapes.values()
        )

    def least(self, tables: Iterable[str], base: Sequence[Mapping[str, Any]] = ()) -> int:
        """The least bytes of a file whose words have one of some forms."""
        return self.beside + self.matrices(base) + min(map(self.words, tables))

    def fastest(self, base: Sequence[Mapping[str, Any]] = ()) -> float:
        """The least part of the time of dense int8 that a file takes."""
        dense = sum(shape.uses * shape.weights for shape in self.shapes.values())
        shapes, _ = after(self.shapes, base)
        forms = {
            name: max(FORMS, key=lambda form, shape=shape: self.target.speed(form, shape.density))
            for name, shape in shapes.items()
        }
        return latency_ratio(shapes, forms, dense, self.target)


def frame_of(network: Network, stored: Network, target: Target) -> Frame:
    """The shapes of a network.

    Args:
        network: in float32, or as sparse as it came.
        stored: the same in int8.
        target: where it will answer.
    """
    config, tensors = export(stored, -1.0)
    total = sum(tensor.nbytes for name, tensor in tensors.items() if name not in config.aliases)
    total += HEADER_BYTES * len(tensors)
    shapes = shapes_of(network)
    total -= sum(round(shape.weights * per_weight(shape, "int8")) for shape in shapes.values())
    table = network.tables.get(WORDS)
    if table is None:
        return Frame(total, 0, 0, shapes, target)
    total -= sum(tensor.nbytes for tensor in table_tensors(WORDS, stored.tables[WORDS]).values())
    rows, width = table.shape if isinstance(table, np.ndarray) else table.dequantized().shape
    return Frame(total, rows, width, shapes, target)


def shapes_of(network: Network) -> dict[str, Shape]:
    """The encoder's matrices by name, of those that share weights one."""
    uses: dict[str, int] = {}
    tied = (linear.target for linear in network.linears.values() if isinstance(linear, TiedLinear))
    for name in (*network.aliases.values(), *tied):
        uses[name] = uses.get(name, 0) + 1
    found = {}
    for name, linear in network.linears.items():
        if name.startswith("layers.") and isinstance(linear, LinearWeights):
            outs, ins = linear.weight.shape
            density = block_density(linear.weight, np.ones(linear.weight.shape, bool))
            # Scale, sum and bias of each output, a factor of each input; blocks add a start of each four outputs.
            own = 13 * padded(outs) + 4 * ins
            found[name] = Shape(linear.weight.size, density, 1 + uses.get(name, 0), own)
    return found


def per_weight(shape: Shape, form: str) -> float:
    """Bytes a weight of a dense matrix in a form, what it has in every form included."""
    return PER_WEIGHT[form] + shape.own / max(shape.weights, 1)


def words_bytes(form: str, rows: int, width: int) -> int:
    """Bytes of a table of words in forms that follow one another, the matrix that widens them included."""
    total, stored = 0, rows * width
    for each in map(parse_form, form.split("+")):
        if each.kind == "low-rank":
            total += padded(width) * (padded(each.size) + 12) + 4 * padded(each.size)
            width = padded(each.size)
            stored = rows * width
        elif each.kind == "int4":
            stored = rows * (-(-width // 2) + -(-width // NIBBLE_GROUP))
        elif each.kind == "codebook":
            stored = rows * width // each.size + 256 * width
    return total + stored + 4 * padded(rows) if rows else 0


def after(shapes: Mapping[str, Shape], base: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Shape], int]:
    """What matrices are expected to be after passes that prune or share, and bytes of what sharing layers keep."""
    left, own = dict(shapes), 0
    for one in base:
        for request in parse_requests(one.get("prune", ())):
            if request.kind == "layers":
                left = _without_layers(left, request.count or len(request.numbers))
            elif request.kind == "blocks":
                part = 1 - request.amount
                left = {name: replace(shape, density=shape.density * part) for name, shape in left.items()}
            else:
                parts = [part for part in PARTS if part.startswith("ffn" if request.kind == "ffn" else "attention")]
                left = _narrower(left, parts, 1 - request.amount)
        if "share" in one:
            count, rank = int(one["share"].rpartition(":")[2]), one.get("low_rank", 0)
            own += _shared(left, count, rank)
            left = _without_layers(left, count)
    return left, own


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted({int(name.split(".")[1]) for name in names})


def _without_layers(shapes: Mapping[str, Shape], count: int) -> dict[str, Shape]:
    gone = _numbers(shapes)[-count:] if count else []
    return {name: shape for name, shape in shapes.items() if int(name.split(".")[1]) not in gone}


def _narrower(shapes: Mapping[str, Shape], parts: Collection[str], part: float) -> dict[str, Shape]:
    return {
        name: replace(shape, weights=round(shape.weights * part)) if name.split(".", 2)[2] in parts else shape
        for name, shape in shapes.items()
    }


def _shared(shapes: Mapping[str, Shape], count: int, rank: int) -> int:
    """Bytes of the low-rank differences of so many pairs of layers, two small matrices each in int8."""
    last = set(_numbers(shapes)[-count:])
    sides = 0
    for name, shape in shapes.items():
        if int(name.split(".")[1]) in last:
            sides += round(2 * shape.weights**0.5) * (rank + 12)
    return 2 * sides


def typical_loss(shapes: Mapping[str, Shape], base: Sequence[Mapping[str, Any]]) -> float:
    """What passes that prune or share lose in models like MiniLM: the more, the more weights go; a guess."""
    left, _ = after(shapes, base)
    kept = sum(shape.weights * shape.density for shape in left.values())
    gone = 1 - kept / max(sum(shape.weights * shape.density for shape in shapes.values()), 1)
    return _TYPICAL_GONE * gone + gone**4


def typical_words(form: str) -> float:
    """What a form of the words loses in models like MiniLM: a guess."""
    return sum(
        TYPICAL_WORDS[each.kind] * ((each.size / 4) ** 1.7 if each.kind == "codebook" else 1)
        for each in map(parse_form, form.split("+"))
    )
