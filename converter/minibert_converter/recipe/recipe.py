"""A recipe: the passes of a conversion in order, and what they share.

    calibrate = "texts.txt"          # texts like those to come; paths start where the recipe lies
    seed = 0

    [[pass]]
    prune = "4x4:0.5"
    budget = "global"

    [[pass]]
    quantize = "int8"

Each `[[pass]]` has one key that says what it does (its verb) and may have options beside it. What a file says of how it
was made is the same in JSON, so that a recipe can also be read out of a model file and used again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert_converter.export import SPARSE_THRESHOLD
from minibert_converter.passes.base import Pass
from minibert_converter.passes.options import FILE, SHARE, Type, array, integer, option, read_table
from minibert_converter.passes.registry import PASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: A conversion has a handful of passes; more than this is a mistake in making the file.
MAX_PASSES = 64
MAX_SEED = 2**32 - 1


def read_pass(value: Any, where: str) -> Pass:
    """One `[[pass]]`: the one key that is a verb says which kind it is."""
    verbs = [key for key in value if key in PASSES] if isinstance(value, Mapping) else []
    if len(verbs) != 1:
        found = f"it has {' and '.join(verbs)}" if verbs else "it has none of them"
        raise InputError(f"{where} must have one of the keys {', '.join(PASSES)}; {found}")
    return read_table(PASSES[verbs[0]], value, where)


@dataclass(frozen=True)
class Recipe:
    """What is done to a network; `folder` is where its relative paths start."""

    passes: tuple[Pass, ...] = option(
        array(Type("a pass", read_pass), 0, MAX_PASSES), "what is done, in order", (), key="pass"
    )
    seed: int = option(integer(0, MAX_SEED), "of random choices", 0, flag="--seed", metavar="N")
    sparse_threshold: float = option(
        SHARE,
        "a matrix is stored as blocks if at most this part of its 4x4 blocks holds a weight that isn't zero",
        SPARSE_THRESHOLD,
    )
    calibrate: str | None = option(
        FILE, "a file of texts like those to come, one a line", None, flag="--calibrate", metavar="TEXTS"
    )
    folder: Path = Path()

    @property
    def reads_texts(self) -> bool:
        """Whether calibration texts change what it does."""
        return any(each.reads_texts() for each in self.passes)

    @classmethod
    def from_json(cls, value: Any, where: str = "recipe", folder: Path = Path()) -> Recipe:
        """Reads a recipe out of plain values (dicts, lists, strings, numbers), as JSON and TOML give them.

        Raises:
            InputError: a key is missing, unknown, of the wrong type or makes no sense; the message names it.
        """
        return read_table(cls, value, where, folder=folder)

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values, which `from_json` turns back into it; `calibrate` is not kept."""
        passes = [each.to_json() for each in self.passes]
        return {"seed": self.seed, "sparse_threshold": self.sparse_threshold, "pass": passes}


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe file (TOML).

    Raises:
        InputError: it cannot be read, is no TOML, or makes no sense; names the file and the key.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{path}: cannot be read as a recipe ({error})") from error
    return Recipe.from_json(value, str(path), path.parent)
