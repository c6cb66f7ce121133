"""Layers of a student that share their matrices."""

from __future__ import annotations

from minibert.errors import InputError
from minibert_converter.matrices import PARTS
from minibert_converter.network import Network
from minibert_converter.passes.share.request import parse_groups


def share_layers(network: Network, text: str) -> None:
    """Lets layers use the matrices of one of them, biases included; their LayerNorms stay their own.

    Each group starts from the matrices of its middle layer: training, not a fit, makes them serve all.

    Args:
        network: `linears` and `aliases` change.
        text: which layers; see `share.request.parse_groups`.

    Raises:
        InputError: the text is nothing of the kind, or does not fit the number of layers, or their shapes differ.
    """
    groups, similar = parse_groups(text, len(network.architecture.layers))
    if similar:
        raise InputError(f"tied_layers {text!r}: name the layers of a student, none of them is trained yet")
    if any(name.startswith("layers.") for name in network.aliases):
        raise InputError(f"tied_layers {text!r}: layers of this model share their weights already")
    for group in groups:
        if len({network.architecture.layers[number] for number in group}) > 1:
            raise InputError(f"tied_layers {text!r}: layers of different sizes cannot share their matrices")
        owner, middle = group[0], group[len(group) // 2]
        for part in PARTS:
            network.linears[f"layers.{owner}.{part}"] = network.linears[f"layers.{middle}.{part}"]
            for number in group[1:]:
                del network.linears[f"layers.{number}.{part}"]
                network.aliases[f"layers.{number}.{part}"] = f"layers.{owner}.{part}"
