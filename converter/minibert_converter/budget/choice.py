"""Why matrices are kept as they are: what is said of a choice for a target, and what else would be faster there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from minibert.format import Config
from minibert_converter.budget.space import FORMS, Shape, latency_ratio, worth_of
from minibert_converter.budget.targets import Target, stored_as_blocks

#: How many times as fast something else has to be to be worth a word.
_WORTH_SAYING = 1.1
#: Pruning that is proposed where a model has none, and the part of the blocks that it leaves.
_PRUNING, _LEFT = "--prune 4x4:0.5", 0.5
#: Matrices that are named one by one.
_NAMED = 6


def explained(
    target: Target, shapes: Mapping[str, Shape], forms: Mapping[str, str], losses: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Why matrices have the forms that were chosen for them, in sentences.

    Args:
        target: that they were chosen for.
        shapes: the encoder's matrices.
        forms: of each of them.
        losses: by form that was tried and matrix, what that would lose.
    """
    counts = Counter(forms[name] for name in shapes)
    kept = ", ".join(f"{counts[form]} in {form}" for form in FORMS if form in counts)
    lines = [f"for {target.says}, of {len(shapes)} matrices: {kept}; {_takes(_ratio(target, shapes, forms))}"]
    for form in FORMS[1:]:
        ratio = _ratio(target, shapes, dict.fromkeys(shapes, form))
        tried = "" if form in losses else ", and was not tried: it loses more, for nothing"
        lines.append(f"all in {form} {_takes(ratio)}{tried}")
    blocks = any(stored_as_blocks("int8", shape.density) for shape in shapes.values())
    lines.append("these speeds were measured by " + " and ".join(dict.fromkeys(target.measured[: 1 + blocks])))
    stay = {}
    for name, shape in shapes.items():
        worth = {form: worth_of(shape, form, target) for form, its in losses.items() if name in its}
        if (best := min(worth, key=lambda form: worth[form])) != forms[name]:
            stay[name] = f"{name} stays {forms[name]}: as {best} it would lose {losses[best][name]:.4f}"
    lines += list(stay.values())[:_NAMED]
    if len(stay) > _NAMED:
        lines.append(f"so do {len(stay) - _NAMED} more")
    return lines


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
    if all(shape.density == 1 for shape in shapes.values()):
        left = {name: replace(shape, density=_LEFT) for name, shape in shapes.items()}
        pruned = min(_ratio(target, left, dict.fromkeys(left, form)) for form in ("int8", "int4"))
        if min(now, four_bits) > _WORTH_SAYING * pruned:
            lines.append(f"{_PRUNING} {_takes(pruned)}; what it loses depends on the model (docs/PRUNING.md)")
    return lines


def _ratio(target: Target, shapes: Mapping[str, Shape], forms: Mapping[str, str]) -> float:
    return latency_ratio(shapes, forms, sum(shape.uses * shape.weights for shape in shapes.values()), target)


def _takes(ratio: float) -> str:
    return f"would take {ratio:.2f} of the time of dense int8"
