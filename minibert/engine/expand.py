"""Matrices stored in four bits become the int8 matrices that they stand for, once, when an engine is made.

Kernels that unpacked four bits for each product would save memory and lose time on every CPU that has a product of
int8. So what is small is the file; in memory such a model is an int8 model, bit for bit and byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minibert.engine.memory import empty
from minibert.format.constants import FOUR_BIT_KINDS, GROUP
from minibert.format.four_bit import expand_blocks, expand_four_bit, four_bit_parts
from minibert.format.schema import Config


def expand(config: Config, tensors: Mapping[str, np.ndarray]) -> tuple[Config, Mapping[str, np.ndarray]]:
    """The same model without matrices of four bits.

    Args:
        config: a model's description.
        tensors: its tensors. Matrices whose codes are the same arrays, as those of aliases are, stay one matrix.

    Returns:
        A config whose matrices are of other kinds, and its tensors; the arguments themselves where they are already.
    """
    config, tensors = _expand_blocks(config, tensors)
    small = {name: linear for name, linear in config.linears.items() if linear.kind in FOUR_BIT_KINDS}
    if not small:
        return config, tensors
    known: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    expanded = dict(tensors)
    for name, linear in small.items():
        parts = [f"{name}.{part}" for part in four_bit_parts(linear.kind)]
        key = (linear.group_size, *(id(tensors[part]) for part in parts))
        if key not in known:
            panels, groups, lanes, _ = tensors[parts[0]].shape
            weight = empty(panels * groups * lanes * GROUP).view(np.int8).reshape(panels, groups, lanes, GROUP)
            expand_four_bit(name, linear, tensors, weight)
            known[key] = weight, _sums(weight)
        expanded[f"{name}.weight"], expanded[f"{name}.weight_sum"] = known[key]
        for part in parts:
            del expanded[part]
    linears = {name: replace(linear, kind="int8", group_size=0) for name, linear in small.items()}
    return replace(config, linears={**config.linears, **linears}), expanded


def _expand_blocks(config: Config, tensors: Mapping[str, np.ndarray]) -> tuple[Config, Mapping[str, np.ndarray]]:
    """The same model with blocks of four bits as blocks of int8."""
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


def _sums(weight: np.ndarray) -> np.ndarray:
    """The sum of each output's weights: int32 [16 P] of int8 [P, in / 4, 16, 4]."""
    panels, groups, lanes, _ = weight.shape
    by_place = weight.reshape(panels, groups, lanes * GROUP).sum(axis=1, dtype=np.int32)
    return by_place.reshape(panels * lanes, GROUP).sum(axis=1, dtype=np.int32)
