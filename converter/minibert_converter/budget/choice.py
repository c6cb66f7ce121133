"""Why matrices are kept as they are: what is said of a choice for a target, and what else would be faster there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minibert.format import Config
from minibert_converter.budget.candidates import Candidate
from minibert_converter.budget.interval import Kept
from minibert_converter.budget.space import FORMS, Shape, latency_ratio, worth_of
from minibert_converter.budget.targets import Target

#: How many times as fast something else has to be to be worth a word.
_WORTH_SAYING = 1.1
#: Pruning that is proposed where a model has none, and the part of the blocks that it leaves.
_PRUNING, _LEFT = "--prune 4x4:0.5", 0.5
#: Matrices that are named one by one.
_NAMED = 6


@dataclass(frozen=True)
class Trial:
    """A file that was made.

    Attributes:
        candidate: what it was made of.
        bytes: that it has.
        score: on the user's examples; None where there are none.
        loss: how far its answers moved; None where the goal has no loss.
        holds: whether it meets the goal.
        kept: the part of the float32 model's score that it keeps; None where there is no score.
    """

    candidate: Candidate
    bytes: int
    score: float | None
    loss: float | None
    holds: bool
    kept: Kept | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; of the forms how many matrices have each."""
        return {
            "forms": dict(Counter(self.candidate.forms.values())),
            "latency_ratio": self.candidate.latency,
            "bytes": self.bytes,
            "score": self.score,
            "loss": self.loss,
            "holds": self.holds,
            "kept": None if self.kept is None else self.kept.to_json(),
        }


def explained(
    target: Target,
    shapes: Mapping[str, Shape],
    losses: Mapping[str, Mapping[str, float]],
    trials: Sequence[Trial],
    taken: Trial,
) -> list[str]:
    """Why matrices have the forms that were chosen for them, in sentences.

    Args:
        target: that they were chosen for.
        shapes: the encoder's matrices.
        losses: by form that was worth trying and matrix, what that would lose, beside int8.
        trials: files that were made, in order.
        taken: the one of them that was chosen.
    """
    forms = taken.candidate.forms
    lines = [f"for {target.says}, by speeds of {target.measured_on}"]
    for form in FORMS:
        more = ", and is not worth what it loses"
        if form in losses:
            more = f", and lose about {sum(losses[form].values()):.4f} more than int8" if form != "int8" else ""
        lines.append(f"all in {form} {_takes(_ratio(target, shapes, dict.fromkeys(shapes, form)))}{more}")
    for number, trial in enumerate(trials, 1):
        verdict = "taken" if trial is taken else "not the fastest" if trial.holds else "does not keep to that"
        lines.append(f"file {number}, {_measured(trial, shapes)}: {verdict}")
    stay = {}
    for name, shape in shapes.items():
        worth = {form: worth_of(shape, form, target) for form, its in losses.items() if name in its}
        if (best := min(worth, key=lambda form: worth[form])) != forms[name]:
            stay[name] = f"{name} stays {forms[name]}: as {best} it would lose {losses[best][name]:.4f}"
    lines += list(stay.values())[:_NAMED]
    if len(stay) > _NAMED:
        lines.append(f"so do {len(stay) - _NAMED} more")
    return lines + _pruning(target, shapes, _ratio(target, shapes, forms))


def _measured(trial: Trial, shapes: Mapping[str, Shape]) -> str:
    counts = Counter(trial.candidate.forms[name] for name in shapes)
    kept = " and ".join(f"{counts[form]} matrices in {form}" for form in FORMS if form in counts)
    found = [f"{kept} {_takes(trial.candidate.latency)}"]
    if trial.loss is not None:
        found.append(f"its loss is {trial.loss:.4f}")
    if trial.score is not None:
        found.append(f"its score is {trial.score:.4f}")
    return ", ".join(found)


def proposals(config: Config, target: Target) -> list[str]:
    """What a file's model is expected to take on a target, and what would be faster there, in sentences.

    Nothing of a model that is not all of integers, or has no layers.
    """
    linears = {name: linear for name, linear in config.linears.items() if name.startswith("layers.")}
    if not linears or any(linear.kind == "float32" for linear in linears.values()):
        return []
    shapes = {name: Shape(each.in_features * each.out_features, each.density) for name, each in linears.items()}
    forms = {name: each.kind.removesuffix("-4x4") for name, each in linears.items()}
    now = _ratio(target, shapes, forms)
    lines = [f"for {target.says} this file {_takes(now)}"]
    four_bits = _ratio(target, shapes, dict.fromkeys(shapes, "int4"))
    if set(forms.values()) == {"int8"} and four_bits <= now:
        lines.append(f"--quantize int4 {_takes(four_bits)}, at half the bytes; --quantize auto looks what it loses")
    return lines + _pruning(target, shapes, min(now, four_bits))


def _pruning(target: Target, shapes: Mapping[str, Shape], ratio: float) -> list[str]:
    """Proposes pruning, where there is none yet, if it takes less than a ratio of time by a good deal."""
    if any(shape.density < 1 for shape in shapes.values()):
        return []
    left = {name: replace(shape, density=_LEFT) for name, shape in shapes.items()}
    pruned = min(_ratio(target, left, dict.fromkeys(left, form)) for form in ("int8", "int4"))
    if ratio <= _WORTH_SAYING * pruned:
        return []
    return [f"{_PRUNING} {_takes(pruned)}; what it loses depends on the model (docs/PRUNING.md)"]


def _ratio(target: Target, shapes: Mapping[str, Shape], forms: Mapping[str, str]) -> float:
    return latency_ratio(shapes, forms, sum(shape.uses * shape.weights for shape in shapes.values()), target)


def _takes(ratio: float) -> str:
    return f"would take {ratio:.2f} of the time of dense int8"
