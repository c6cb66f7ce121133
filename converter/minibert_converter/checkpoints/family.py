"""The vocabulary in which a family of checkpoints is described: a table of names, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minibert.format.schema import Activation, Pooling, TaskKind


@dataclass(frozen=True)
class Key:
    """A key of config.json.

    Attributes:
        name: the checkpoint's name of it.
        default: what transformers takes when the key is absent; None where there is no sensible one.
    """

    name: str
    default: Any = None


@dataclass(frozen=True)
class HeadSource:
    """One linear after pooling: our name, the checkpoint's name, and the activation that follows."""

    name: str
    source: str
    activation: Activation = "none"


@dataclass(frozen=True)
class Head:
    """What a task adds to the encoder: how tokens become rows, and the linears that follow."""

    pooling: Pooling
    linears: tuple[HeadSource, ...] = ()


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one `model_type` name things.

    Attributes:
        model_type: as in config.json.
        prefixes: what may stand before the encoder's names; the first that fits a name is taken off.
        renamed: endings of old checkpoints, and what they are called today.
        sizes: our name of a size -> its key in config.json.
        activation: key of the feed-forward's activation.
        layer_norm_eps: key of the LayerNorms' epsilon.
        must_be: keys that change what the network computes -> the one value that is understood.
        tensors: our name -> the checkpoint's; `{layer}` stands for the layer's number. A linear or LayerNorm is named
            without `.weight` and `.bias`. The parts are those of the network, with Q, K and V apart:
            layers.{layer}.attention.{query,key,value}.
        heads: task -> its head.
        architectures: name in config.json's `architectures` -> the task it was made for.
        unused: regular expressions of names that may be there and are not needed by any task above, such as
            buffers and the heads of pre-training.
    """

    model_type: str
    prefixes: tuple[str, ...]
    sizes: Mapping[str, Key]
    activation: Key
    layer_norm_eps: Key
    tensors: Mapping[str, str]
    heads: Mapping[TaskKind, Head]
    architectures: Mapping[str, TaskKind]
    renamed: Mapping[str, str] = field(default_factory=dict)
    must_be: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


#: transformers' names of activations -> ours. The three names of the tanh approximation differ only in rounding.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
}
