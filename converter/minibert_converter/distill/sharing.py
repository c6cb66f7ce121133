"""Layers of a student that share their matrices."""

from __future__ import annotations

import re

from minibert.errors import InputError

from ..network import Network
from ..prune.encoder import PARTS

_SHARED = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})")


def share_layers(network: Network, text: str) -> None:
    """Lets layers use the matrices of one of them; their LayerNorms stay their own.

    Each group starts from the matrices of its middle layer.

    Args:
        network: `linears` and `aliases` change.
        text: "AxB": A groups of B layers in a row (ALBERT, arXiv 1909.11942, is 1xN); "sandwich": all but the first
            and the last (Subformer, arXiv 2101.00234).

    Raises:
        InputError: the text is nothing of the kind, or does not fit the number of layers, or their shapes differ.
    """
    count = len(network.architecture.layers)
    if text == "sandwich":
        groups = [range(1, count - 1)]
    else:
        match = _SHARED.fullmatch(text)
        if match is None:
            raise InputError(
                f'tied_layers {text!r}: write "AxB" for A shared layers, each B times in a row, or "sandwich"'
            )
        many, times = int(match[1]), int(match[2])
        if many * times != count:
            raise InputError(f"tied_layers {text!r}: {many} x {times} layers are not the {count} that there are")
        groups = [range(first, first + times) for first in range(0, count, times)]
    if any(name.startswith("layers.") for name in network.aliases):
        raise InputError(f"tied_layers {text!r}: layers of this model share their weights already")
    for group in groups:
        if len({network.architecture.layers[number] for number in group}) > 1:
            raise InputError(f"tied_layers {text!r}: layers of different sizes cannot share their matrices")
        if len(group) < 2:
            continue
        owner, middle = group[0], group[len(group) // 2]
        for part in PARTS:
            network.linears[f"layers.{owner}.{part}"] = network.linears[f"layers.{middle}.{part}"]
            for number in group[1:]:
                del network.linears[f"layers.{number}.{part}"]
                network.aliases[f"layers.{number}.{part}"] = f"layers.{owner}.{part}"
