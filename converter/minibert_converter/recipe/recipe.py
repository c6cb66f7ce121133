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

from minibert.errors import FormatError, InputError
from minibert_converter.export import SPARSE_THRESHOLD
from minibert_converter.passes.base import Pass
from minibert_converter.passes.keys import Keys
from minibert_converter.passes.registry import PASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: A conversion has a handful of passes; more than this is a mistake in making the file.
MAX_PASSES = 64
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Recipe:
    """What is done to a network.

    Attributes:
        passes: what is done, in order.
        seed: of every random choice.
        sparse_threshold: an int8 matrix is stored block-sparse if at most this fraction of its 4x4 blocks, from 0 to
            1, holds a weight that isn't zero.
        calibrate: a file of texts like those to come (see `texts.read_texts`); None where none is named.
        folder: where relative paths of the recipe start.
    """

    passes: tuple[Pass, ...] = ()
    seed: int = 0
    sparse_threshold: float = SPARSE_THRESHOLD
    calibrate: str | None = None
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
        try:
            keys = Keys(value, where)
            passes = keys.items("pass", read_pass, 0, MAX_PASSES, [])
            seed = keys.integer("seed", 0, MAX_SEED, 0)
            threshold = keys.share("sparse_threshold", SPARSE_THRESHOLD)
            calibrate = keys.text("calibrate", "") or None
            keys.end()
        except FormatError as error:
            raise InputError(str(error)) from None
        return cls(passes, seed, threshold, calibrate, folder)

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values, which `from_json` turns back into it; `calibrate` is not kept."""
        passes = [each.to_json() for each in self.passes]
        return {"seed": self.seed, "sparse_threshold": self.sparse_threshold, "pass": passes}


def read_pass(value: Any, where: str) -> Pass:
    """One `[[pass]]`: the one key that is a verb says which kind it is."""
    verbs = [key for key in value if key in PASSES] if isinstance(value, Mapping) else []
    if len(verbs) != 1:
        found = f"it has {' and '.join(verbs)}" if verbs else "it has none of them"
        raise FormatError(f"{where} must have one of the keys {', '.join(PASSES)}; {found}")
    keys = Keys(value, where)
    try:
        step = PASSES[verbs[0]].read(keys)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    keys.end()
    return step


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
