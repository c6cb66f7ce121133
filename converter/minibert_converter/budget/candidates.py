"""Putting choices together into recipes to try: the frontier of bytes, or of time, and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minibert_converter.budget.knapsack import Choice, Option, frontier
from minibert_converter.budget.probe import Measured, Probe
from minibert_converter.budget.space import (
    FORMS,
    Shape,
    forms_worth_trying,
    latency_ratio,
    recipe_for,
    said,
    stored_bytes,
    worth_of,
)
from minibert_converter.budget.state import key_of
from minibert_converter.recipe import Recipe


@dataclass(frozen=True)
class Candidate:
    """One point that a search may try.

    Attributes:
        recipe: how to make it.
        bytes: what the file is expected to weigh.
        loss: what the outputs are expected to lose (see `calibration.outputs.loss`).
        latency: the part of the dense int8 model's time that it is expected to take.
        weight: what there should be as little as possible of: bytes, or what is worth most on the target.
        forms: of the matrices.
        base: passes that prune or share.
        table: the form of the words.
        cut: whether its vocabulary is cut.
    """

    recipe: Recipe
    bytes: int
    loss: float
    latency: float
    weight: float
    forms: Mapping[str, str]
    base: tuple[dict[str, Any], ...] = ()
    table: str = "int8"
    cut: bool = False

    @property
    def kind(self) -> str:
        """Names what it has in common with others but for the forms of matrices and words."""
        return key_of([self.base, self.cut])

    def __str__(self) -> str:
        counts = {form: list(self.forms.values()).count(form) for form in FORMS}
        words = [f"words in {self.table}", *(f"{count} matrices in {form}" for form, count in counts.items() if count)]
        words += [said(self.base)] * bool(self.base) + ["a cut vocabulary"] * self.cut
        return f"{', '.join(words)}, expected to lose {self.loss:.4f}"


def candidates(probe: Probe, base: Sequence[dict[str, Any]] = ()) -> list[Candidate]:
    """Every point of the frontier of bytes and loss after passes that prune or share."""
    forms = probe.forms()
    measured, dense = probe.shapes(base), probe.frame().shapes
    sizes = _sizes(probe, measured, forms)
    items = {
        name: [Option(form, size, _loss_by(forms, name, form)) for form, size in its.items()]
        for name, its in sizes.items()
    }
    found = []
    for table, (beside, lost) in probe.tables().items():
        for choice in frontier(items):
            recipe = recipe_for(probe.first, base, table, choice.options, probe.source.seed)
            size = round(beside) + measured.own + round(choice.weight)
            latency = _latency(probe, measured, dense, choice)
            lost_in_all = measured.loss + lost + choice.loss
            kind = tuple(base), table, probe.cut
            found.append(Candidate(recipe, size, lost_in_all, latency, size, choice.options, *kind))
    return found


def fast_candidates(probe: Probe) -> list[Candidate]:
    """Every point of the frontier of time on the target and loss; words are as they are, and nothing is pruned."""
    measured = probe.shapes()
    forms = probe.forms(forms_worth_trying(measured.shapes, probe.target))
    sizes = _sizes(probe, measured, forms)
    items = {
        name: [
            Option(form, worth_of(measured.shapes[name], form, probe.target), _loss_by(forms, name, form))
            for form in its
        ]
        for name, its in sizes.items()
        if name in measured.shapes
    }
    beside = probe.tables(("int8",))["int8"]
    found = []
    for choice in frontier(items):
        recipe = recipe_for(probe.first, (), "int8", choice.options, probe.source.seed)
        size = round(beside[0]) + sum(its[choice.options.get(name, "int8")] for name, its in sizes.items())
        latency = _latency(probe, measured, measured.shapes, choice)
        lost = beside[1] + choice.loss
        found.append(Candidate(recipe, size, lost, latency, choice.weight, choice.options))
    return found


def _sizes(
    probe: Probe, measured: Measured, forms: Mapping[str, Mapping[str, list[float]]]
) -> dict[str, dict[str, int]]:
    """Bytes of each matrix that is left in each form that it may have; one of the head stays int8."""
    dense = probe.frame().shapes
    sizes: dict[str, dict[str, int]] = {}
    for name, (size, _) in forms["int8"].items():
        shape = measured.shapes.get(name)
        if name not in dense:
            sizes[name] = {"int8": round(size)}
        elif shape is not None:  # else another layer's
            sizes[name] = {
                form: stored_bytes(shape, form, each[name][0] / dense[name].weights)
                for form, each in forms.items()
                if name in each
            }
    return sizes


def _loss_by(forms: Mapping[str, Mapping[str, list[float]]], name: str, form: str) -> float:
    return forms[form][name][1]


def _latency(probe: Probe, measured: Measured, dense: Mapping[str, Shape], choice: Choice) -> float:
    total = sum(shape.uses * shape.weights for shape in dense.values())
    return latency_ratio(measured.shapes, choice.options, total, probe.target)
