"""The shape of a student: how it is cut out of its teacher, what it weighs, how long it takes, what trains it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from minibert.format.constants import NIBBLE_GROUP, padded
from minibert.format.schema import Architecture
from minibert_converter.budget.probe import HEADER_BYTES
from minibert_converter.budget.space import OTHER_TIME, PER_WEIGHT, Shape, stored_bytes, time_of
from minibert_converter.budget.targets import Target
from minibert_converter.export import SPARSE_THRESHOLD, export
from minibert_converter.network import Network
from minibert_converter.passes.embeddings.tokenizer_cut import cut_tokenizer
from minibert_converter.passes.embeddings.vocabulary import ranked_tokens

#: The least part of its encoder's blocks that a student may be left with.
LEAST_DENSITY = 0.04
#: Bytes of an output beside its weights: scale, bias, and the sum of its codes.
_PER_OUTPUT = 12
#: Tensors of a file without layers, and of a layer.
_TENSORS, _LAYER_TENSORS = 35, 35
#: AdamW's step at its peak, times the hidden size: the narrower, the larger.
_RATE = 0.19
#: Texts that are read to see what removing heads and neurons costs.
_PRUNING_TEXTS = 192


@dataclass(frozen=True)
class Student:
    """A shape.

    Attributes:
        layers: that stay.
        hidden: features of each row; heads and neurons are kept in proportion.
        vocab: tokens that are kept, see `vocabulary.ranked_tokens`; what spells any other stays as well.
        rank: dimensions that words are kept in, 0 for as many as rows have.
        words: how the words' numbers are kept: "int8" or "int4".
        density: the part of the encoder's 4x4 blocks that stays.
        bits: how its weights are kept: "int8" or "int4".
        turns: layers in a row that share their matrices (ALBERT, arXiv 1909.11942): 1 for none; divides `layers`.
    """

    layers: int
    hidden: int
    vocab: int
    rank: int
    words: str
    density: float
    bits: str
    turns: int = 1

    def __str__(self) -> str:
        sharing = f", {self.turns} layers in a row sharing weights" if self.turns > 1 else ""
        blocks = "" if self.density == 1 else f", {self.density:.0%} of the blocks"
        rank = f" in {self.rank} dimensions" if self.rank else ""
        return f"{self.layers} x {self.hidden}{sharing}{blocks}, {self.bits}; {self.vocab:,} words{rank}, {self.words}"


@dataclass(frozen=True)
class Cutter:
    """What students are cut out of, and what it takes to say how large and how fast they are.

    Attributes:
        teacher: in float32.
        used: how often the texts to learn from use each token, by its id.
        to_come: the same of other texts, which say what the first ones lack.
        target: where the student will answer.
        bfloat16: whether it is trained in it.
        copies: of each text, varied, that it is trained on too.
    """

    teacher: Network
    used: Mapping[int, int]
    to_come: Mapping[int, int]
    target: Target
    bfloat16: bool = False
    copies: int = 0
    #: For so many tokens, the part of the texts to come that has to be spelled.
    spelled: Callable[[int], float] = field(init=False, repr=False, compare=False)
    _ranked: list[int] = field(init=False, repr=False, compare=False)
    _kept: Callable[[int], int] = field(init=False, repr=False, compare=False)
    _beside: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ranked", ranked_tokens(self.used, self.teacher.architecture.vocab_size))
        object.__setattr__(self, "_kept", cache(self._tokens_kept))
        object.__setattr__(self, "spelled", cache(self._spelled))
        tensors = export(self.teacher, -1.0)[1]
        text = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(("text", "token")))
        object.__setattr__(self, "_beside", text)

    @property
    def shape(self) -> Architecture:
        """The teacher's."""
        return self.teacher.architecture

    def _tokens_kept(self, vocab: int) -> int:
        if vocab >= self.shape.vocab_size:
            return self.shape.vocab_size
        return len(cut_tokenizer(self.teacher.tokenizer_json, self._ranked[:vocab], self.used)[1])

    def _spelled(self, vocab: int) -> float:
        kept = set(self._ranked[:vocab])
        missing = sum(count for token, count in self.to_come.items() if token not in kept)
        return missing / max(sum(self.to_come.values()), 1)

    def matrices(self, student: Student) -> list[Shape]:
        """The matrices of its encoder, shared ones once."""
        wide, narrow = self.shape, student.hidden / self.shape.hidden_size
        layer = wide.layers[0]
        heads = max(round(layer.num_heads * narrow), 1) * wide.head_size
        neurons = max(round(layer.ffn_size * narrow), 1)
        sizes = [3 * heads * student.hidden, heads * student.hidden, neurons * student.hidden, neurons * student.hidden]
        return [Shape(size, student.density) for size in sizes] * (student.layers // student.turns)

    def bytes(self, student: Student) -> int:
        """What its file is expected to weigh."""
        tokens, hidden = self._kept(student.vocab), padded(student.hidden)
        width = padded(student.rank) if student.rank else hidden

        def table(rows: int, columns: int) -> float:
            return rows * (columns + 4 if student.words == "int8" else columns / 2 + columns / NIBBLE_GROUP + 4)

        total = table(tokens, width) + self._beside * tokens / max(self.shape.vocab_size, 1)
        if student.rank:
            total += hidden * (width + 8)
        if self.shape.position_table:
            total += table(self.shape.max_positions, hidden)
        shapes = self.matrices(student)
        total += sum(stored_bytes(each, student.bits, PER_WEIGHT[student.bits]) for each in shapes)
        inner = shapes[1].weights // student.hidden
        neurons = shapes[2].weights // student.hidden
        outputs, inputs = 3 * inner + neurons + 2 * hidden, inner + neurons + 2 * hidden
        factors = 4 if student.bits == "int4" else 0  # what inputs are multiplied by, where a pass has rounded
        total += student.layers // student.turns * (_PER_OUTPUT * outputs + factors * inputs)
        total += student.layers * 16 * hidden
        width = hidden
        for layer in self.shape.head:  # in int8, whatever the others are
            rows = padded(len(self.teacher.linears[layer.name].bias))
            total += rows * (width + _PER_OUTPUT) + factors * width
            width = rows
        return round(total + HEADER_BYTES * (_TENSORS + _LAYER_TENSORS * student.layers))

    def latency(self, student: Student) -> float:
        """The part of the teacher's time in dense int8 that it is expected to take on the target."""
        layer = self.shape.layers[0]
        inner = layer.num_heads * self.shape.head_size
        dense = len(self.shape.layers) * self.shape.hidden_size * (4 * inner + 2 * layer.ffn_size)
        time = student.turns * sum(time_of(each, student.bits, self.target) for each in self.matrices(student))
        rest = student.layers * student.hidden / (len(self.shape.layers) * self.shape.hidden_size)
        return OTHER_TIME * rest + (1 - OTHER_TIME) * time / dense

    def filled(self, student: Student, fits: Callable[[int, float], bool]) -> Student | None:
        """The student with as many blocks as a budget allows; None if it allows too few.

        Args:
            student: of any density.
            fits: whether so many bytes and such a part of the time are within the budget.
        """

        def within(density: float) -> bool:
            now = replace(student, density=density)
            return fits(self.bytes(now), self.latency(now))

        if within(1.0):
            return replace(student, density=1.0)
        if not within(LEAST_DENSITY):
            return None
        low, high = LEAST_DENSITY, SPARSE_THRESHOLD
        if within(high):
            return replace(student, density=high)
        while high - low > 0.0005:
            middle = (low + high) / 2
            low, high = (middle, high) if within(middle) else (low, middle)
        return replace(student, density=math.floor(1e4 * low) / 1e4)

    def recipe(self, student: Student, seed: int = 0, epochs: float = 1.0) -> dict[str, Any]:
        """What makes it of the teacher, as plain values: passes ahead of the training, the training, and behind it."""
        shape, passes = self.shape, []
        if student.vocab < shape.vocab_size:
            passes.append({"vocab_size": student.vocab, "characters": "seen"})
        if student.layers < len(shape.layers):
            passes.append({"prune": [f"layers:{len(shape.layers) - student.layers}"]})
        if student.hidden < shape.hidden_size:
            gone = round(1 - student.hidden / shape.hidden_size, 4)
            passes.append({"prune": [f"heads:{gone}", f"ffn:{gone}"], "method": "magnitude", "texts": _PRUNING_TEXTS})
            passes.append({"narrow": student.hidden})
        if student.rank:
            passes.append({"embeddings": f"low-rank:{student.rank}"})
        several = self.teacher.task.kind == "text-classification" and len(self.teacher.task.labels) > 2
        training: dict[str, Any] = {
            "distill": epochs,
            "learning_rate": round(_RATE / student.hidden, 6),
            "loss": {"hidden": 1.0, **({"temperature": 2.0} if several else {})},
            "int8_from": 1.0 if student.bits == "int4" else 0.8,
            **({"copies": self.copies} if self.copies else {}),
            **({"bfloat16": True} if self.bfloat16 else {}),
        }
        if student.turns > 1:
            training["tied_layers"] = f"{student.layers // student.turns}x{student.turns}"
        if student.density < 1:
            training["blocks"] = {"sparsity": round(1 - student.density, 4)}
        passes.append(training)
        if student.words != "int8":
            passes.append({"embeddings": student.words})
        if student.bits == "int4":
            passes.append({"quantize": "int4"})
        return {"seed": seed, "pass": passes}
