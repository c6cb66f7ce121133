"""Blocks of four bits become blocks of int8, once, when an engine is made; the arrays are the process's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minibert.engine.memory import empty
from minibert.format.constants import GROUP
from minibert.format.four_bit import expand_blocks
from minibert.format.schema import Config


def expand(config: Config, tensors: Mapping[str, np.ndarray]) -> tuple[Config, Mapping[str, np.ndarray]]:
    """The same model with int4-4x4 matrices as int8-4x4 ones.

    Args:
        config: a model's description.
        tensors: its tensors. Matrices whose codes are the same arrays, as those of aliases are, stay one matrix.

    Returns:
        A config whose matrices are of other kinds, and its tensors; the arguments themselves where they are already.
    """
    small = {name: linear for name, linear in config.linears.items() if linear.kind == "int4-4x4"}
    if not small:
        return config, tensors
    known: dict[tuple[int, int, int], np.ndarray] = {}
    expanded = dict(tensors)
    for name, linear in small.items():
        codes, multiplier = (expanded.pop(f"{name}.{part}") for part in ("codes", "multiplier"))
        key = linear.blocks, id(codes), id(multiplier)
        if key not in known:
            room = empty(2 * codes.nbytes).view(np.int8).reshape(*codes.shape[:2], GROUP)
            known[key] = expand_blocks(name, linear, tensors, room)
        expanded[f"{name}.blocks"] = known[key]
    linears = {name: replace(linear, kind="int8-4x4") for name, linear in small.items()}
    return replace(config, linears={**config.linears, **linears}), expanded
