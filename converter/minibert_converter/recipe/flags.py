"""The flags of `minibert convert` as a recipe, so that there is one road for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minibert.errors import InputError
from minibert_converter.passes.options import Option, options
from minibert_converter.passes.registry import PASSES
from minibert_converter.recipe.recipe import Recipe

#: The options that have a flag, by the name of the flag as an argument: those of passes, and of the recipe itself.
FLAGS: Mapping[str, Option] = {
    one.keyword: one for kind in (*PASSES.values(), Recipe) for one in options(kind).values() if one.flag
}


def recipe_of(**flags: Any) -> Recipe:
    """The recipe that flags stand for: passes in the order in which each finds what it needs.

    Args:
        flags: values of FLAGS, None where one isn't given, and keys of the recipe itself. An empty value of the flag
            that names a pass leaves it out, with its options, unless that flag may stand alone.

    Raises:
        InputError: a value makes no sense.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    passes = []
    for kind in PASSES.values():
        known = list(options(kind).values())
        verb = known[0]
        table = {one.key: given.pop(one.keyword) for one in known if one.keyword in given}
        if verb.off:
            table.setdefault(verb.key, verb.default)
        if table and verb.key not in table:
            stray = next(one for one in known if one.key in table)
            raise InputError(f"{stray.flag} is for {verb.flag}: give both or neither")
        value = table.get(verb.key)
        if value == verb.off and len(table) > 1:
            stray = next(one for one in known if one.key in table and one is not verb)
            raise InputError(f"{stray.flag} is for {verb.flag}, which {verb.off} leaves out")
        if value != verb.off and (value or (value is not None and verb.alone is not None)):
            passes.append(table)
    return Recipe.from_json({"pass": passes, **given})
