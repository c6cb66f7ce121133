"""What a minibert file says about its model: the JSON config, as frozen dataclasses.

The config describes the model completely; from it `expected_tensors` derives the name, dtype and shape of every
tensor that the file must hold, so that the reader can prove a file before a kernel sees its memory.
docs/FORMAT.md tells the same in prose, with the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT_NAME = "minibert"
FORMAT_VERSION = 1

#: Outputs of a matrix lie in panels of LANES, hidden sizes are padded to a multiple of LANES.
LANES = 16
#: Inputs of an int8 matrix lie in groups of GROUP: what one `vpdpbusd` or `sdot` lane consumes.
GROUP = 4
#: Every tensor that a kernel reads starts on a multiple of ALIGNMENT bytes of the file.
ALIGNMENT = 64

LinearKind = Literal["float32", "int8", "int8-4x4"]
TableKind = Literal["float32", "int8"]
Activation = Literal["none", "gelu", "gelu_tanh", "relu", "tanh"]
Pooling = Literal["none", "cls", "mean", "max", "last"]
TaskKind = Literal["text-classification", "sentence-embedding"]
ProblemType = Literal["single_label", "multi_label", "regression"]


def padded(size: int, multiple: int = LANES) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Linear:
    """One weight matrix with its bias: `y = W x + b`.

    Attributes:
        kind: how the weights are stored and multiplied.
        in_features: inputs, a multiple of LANES (padding inputs have zero weights).
        out_features: outputs that mean something; stored padded to a multiple of LANES with zeros.
        input_factor: whether a vector multiplies the input before it is quantized (outlier migration,
            SmoothQuant, arXiv 2211.10438); only for int8 kinds.
        blocks: number of stored 4x4 blocks, for "int8-4x4" only.
    """

    kind: LinearKind
    in_features: int
    out_features: int
    input_factor: bool = False
    blocks: int = 0


@dataclass(frozen=True)
class Table:
    """One embedding table, `rows` rows of the padded hidden size; "int8" has one float32 scale a row."""

    kind: TableKind
    rows: int


@dataclass(frozen=True)
class Layer:
    """Sizes of one transformer layer: they may differ between layers after structured pruning."""

    num_heads: int
    ffn_size: int


@dataclass(frozen=True)
class HeadLayer:
    """One layer after pooling: a linear called `name`, then an activation, then (if norm) a LayerNorm `name`.norm."""

    name: str
    activation: Activation = "none"
    norm: bool = False


@dataclass(frozen=True)
class Architecture:
    """The shape of the network, from token ids to the rows that `forward` returns."""

    model_type: str
    hidden_size: int
    head_size: int
    vocab_size: int
    max_positions: int
    token_types: int
    layer_norm_eps: float
    activation: Activation
    layers: tuple[Layer, ...]
    pooling: Pooling
    head: tuple[HeadLayer, ...] = ()
    normalize: bool = False


@dataclass(frozen=True)
class Task:
    """What the outputs mean."""

    kind: TaskKind
    labels: tuple[str, ...] = ()
    problem_type: ProblemType = "single_label"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"


@dataclass(frozen=True)
class TextConfig:
    """How text becomes ids, beside what tokenizer.json says itself."""

    max_length: int


@dataclass(frozen=True)
class Config:
    """All of the JSON in a file's metadata."""

    architecture: Architecture
    task: Task
    text: TextConfig
    linears: Mapping[str, Linear]
    tables: Mapping[str, Table]
    aliases: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return asdict(self)
