"""A recipe as TOML, which `recipe.read_recipe` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def recipe_toml(recipe: Mapping[str, Any], comment: str = "") -> str:
    """The text of a recipe file.

    Args:
        recipe: plain values, as `Recipe.to_json` gives them.
        comment: what stands at its head.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key} = {_value(value)}" for key, value in recipe.items() if key != "pass"]
    for each in recipe["pass"]:
        lines += ["", "[[pass]]", *(f"{key} = {_value(value)}" for key, value in each.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A value on one line. TOML writes booleans, numbers, strings and arrays as JSON does, tables with `=`."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)
