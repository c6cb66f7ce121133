"""The recipe and the passes of a model file as `minibert inspect` shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from minibert.cli import console


def as_toml(recipe: Mapping[str, Any]) -> list[str]:
    """The lines of a recipe file that says the same; what a recipe file would not hold comes out as it is."""
    lines = [f"{key} = {_value(each)}" for key, each in recipe.items() if key != "pass"]
    passes = recipe.get("pass")
    for table in passes if isinstance(passes, (list, tuple)) else ():
        lines += ["", "[[pass]]"]
        lines += [f"{key} = {_value(each)}" for key, each in table.items()] if isinstance(table, Mapping) else []
    return lines


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def passes_table(report: Mapping[str, Any]) -> str:
    """What each pass left, as lines of text; empty if the report says nothing of passes.

    The report is free form: whoever wrote the file may have written anything into it.
    """
    passes = report.get("passes")
    rows = []
    for each in passes if isinstance(passes, (list, tuple)) else ():
        if not isinstance(each, Mapping):
            continue
        errors = each.get("errors")
        errors = {} if not isinstance(errors, Mapping) else errors
        known = [(error, name) for name, error in errors.items() if isinstance(error, float)]
        worst = max(known, default=None)
        step = each.get("pass")
        said = ", ".join(f"{key} {_value(value)}" for key, value in step.items()) if isinstance(step, Mapping) else ""
        rows.append(
            (
                console.one_line(said, 60),
                _count(each.get("parameters"), 1e6, "M"),
                _count(each.get("bytes"), 1e6, "MB"),
                _count(each.get("macs"), 1e6, "M"),
                console.one_line(f"{worst[0]:.2%} {worst[1]}", 60) if worst else "",
            )
        )
    return console.table(rows, ("pass", "parameters", "bytes", "MACs a token", "largest error")) if rows else ""


def _count(value: Any, unit: float, name: str) -> str:
    return f"{value / unit:.2f} {name}" if isinstance(value, int) else ""
