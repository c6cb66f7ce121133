"""The run-time side of what a file lets leave early: token pruning and early exits, as stored, changed or off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minibert.errors import InputError
from minibert.format.schema import Config
from minibert.options import flag, number


def adapted(config: Config, early_exit: bool | float = True, token_pruning: bool = True) -> Config:
    """The config with what a caller asks for instead of what the file has.

    Args:
        config: the model's description.
        early_exit: True for the file's thresholds, False for no exits, a number for that threshold everywhere.
        token_pruning: whether layers let only those tokens through that the file says.

    Raises:
        InputError: a threshold beyond 0..1, or one for a model without exits.
    """
    architecture = config.architecture
    if isinstance(early_exit, (bool, np.bool_)):
        exits = architecture.exits if early_exit else ()
    else:
        early_exit = number("early_exit", early_exit, 0, 1)
        if not architecture.exits:
            raise InputError(f"early_exit is {early_exit}, but the model has no exits: see `minibert convert`")
        exits = tuple(replace(one, threshold=early_exit) for one in architecture.exits)
    layers = architecture.layers
    if not flag("token_pruning", token_pruning):
        layers = tuple(replace(layer, keep_tokens=1.0) for layer in layers)
    return replace(config, architecture=replace(architecture, exits=exits, layers=layers))
