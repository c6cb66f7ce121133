"""What a minibert file says about its model: the JSON config, as frozen dataclasses.

The config describes the model completely; from it `expected_tensors` (tensors.py) derives the name, dtype and shape of
every tensor that the file must hold, so that the reader can prove a file before a kernel sees its memory.
docs/FORMAT.md tells the same in prose, with the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from minibert.errors import FormatError
from minibert.format.constants import (
    ACTIVATIONS,
    MAX_HEAD_LAYERS,
    MAX_HEAD_SIZE,
    MAX_HEADS,
    MAX_HIDDEN_SIZE,
    MAX_LABELS,
    MAX_LAYERS,
    MAX_POSITIONS,
    MAX_ROTARY_BASE,
    MAX_TOKEN_TYPES,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
    MODEL_TYPES,
    POOLINGS,
    PROBLEM_TYPES,
    SIMILARITIES,
    TASK_KINDS,
    Activation,
    Pooling,
    ProblemType,
    TaskKind,
)
from minibert.format.parts import Linear, Table
from minibert.format.record import record
from minibert.format.values import Fields, free_form, shown, string

FORMAT_NAME = "minibert"
FORMAT_VERSION = 1


@record
class Layer:
    """One transformer layer: sizes may differ between layers after structured pruning.

    Attributes:
        num_heads: attention heads.
        ffn_size: neurons between the two halves of the feed-forward network.
        window: tokens to either side that a token attends to; 0 for all.
        rotary_base: base of the frequencies by which queries and keys are rotated (RoPE, arXiv 2104.09864); 0 for none.
        keep_tokens: fraction of a text's tokens that go on from this layer's attention (token pruning); 1 for all.
    """

    num_heads: int
    ffn_size: int
    window: int = 0
    rotary_base: float = 0.0
    keep_tokens: float = 1.0

    @classmethod
    def from_json(cls, value: Any, where: str) -> Layer:
        """Read and check one layer; raises FormatError naming the key."""
        keys = Fields(value, where)
        layer = cls(
            num_heads=keys.integer("num_heads", 1, MAX_HEADS),
            ffn_size=keys.integer("ffn_size", 1, MAX_WIDTH),
            window=keys.integer("window", 0, MAX_POSITIONS, 0),
            rotary_base=keys.number("rotary_base", 1.0, MAX_ROTARY_BASE, 0.0),
            keep_tokens=keys.number("keep_tokens", 0.0, 1.0, 1.0),
        )
        keys.end()
        return layer


@record
class Exit:
    """After layer `after`, a text leaves whose likeliest label has at least the probability `threshold` (early exit).

    The labels' logits are the linear "exits.`after`" of the mean of its tokens' rows.
    """

    after: int
    threshold: float

    @classmethod
    def from_json(cls, value: Any, where: str) -> Exit:
        """Read and check one exit; raises FormatError naming the key."""
        keys = Fields(value, where)
        early = cls(after=keys.integer("after", 0, MAX_LAYERS), threshold=keys.number("threshold", 0.0, 1.0))
        keys.end()
        return early


@record
class HeadLayer:
    """One layer after pooling: a linear called `name`, then an activation, then (if norm) a LayerNorm `name`.norm."""

    name: str
    activation: Activation = "none"
    norm: bool = False

    @classmethod
    def from_json(cls, value: Any, where: str) -> HeadLayer:
        """Read and check one head layer; raises FormatError naming the key."""
        keys = Fields(value, where)
        layer = cls(
            name=keys.text("name"),
            activation=keys.choice("activation", ACTIVATIONS, "none"),
            norm=keys.boolean("norm", False),
        )
        keys.end()
        if not _is_head_name(layer.name):
            raise FormatError(f"{where}.name must be 'head.WORD' or 'head.WORD.NUMBER', not {shown(layer.name)}")
        return layer


def _is_head_name(name: str) -> bool:
    """Whether a file may call a layer so.

    It is the one name that a file chooses, and never one that the format makes: those end in a word behind another.
    """
    start, *parts = name.split(".")
    words = all([part and f"_{part}".isidentifier() for part in parts])
    if start != "head" or not words or not name.isascii() or len(name) > 100:
        return False
    return len(parts) == 1 or (len(parts) == 2 and parts[1].isdecimal())


@record
class Architecture:
    """The shape of the network, from token ids to the rows that `forward` returns.

    Attributes:
        embedding_size: columns of the embedding tables, which `embeddings.projection` brings to `hidden_size`; 0 where
            the tables have `hidden_size` columns and there is no projection.
        word_size: columns of the table of words, where `embeddings.word_projection` brings them to those of the other
            tables before they are added up; 0 where it has as many as they.
        position_table: whether there is a table of position embeddings.
        position_bias: whether each layer adds a number for each head and distance of two tokens to attention scores.
        pre_norm: whether LayerNorms stand before attention and feed-forward, and residual sums go by them.
        gated: whether the feed-forward is down(activation(a) * b), where `ffn.up` returns a and b.
        exits: where a classifier may answer before its last layer, by rising layer.
    """

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
    embedding_size: int = 0
    position_table: bool = True
    position_bias: bool = False
    pre_norm: bool = False
    gated: bool = False
    word_size: int = 0
    exits: tuple[Exit, ...] = ()

    @property
    def table_size(self) -> int:
        """Columns of the embedding tables that mean something."""
        return self.embedding_size or self.hidden_size

    @classmethod
    def from_json(cls, value: Any, where: str) -> Architecture:
        """Read and check the architecture; raises FormatError naming the key."""
        keys = Fields(value, where)
        architecture = cls(
            model_type=keys.choice("model_type", MODEL_TYPES),
            hidden_size=keys.integer("hidden_size", 1, MAX_HIDDEN_SIZE),
            head_size=keys.integer("head_size", 1, MAX_HEAD_SIZE),
            vocab_size=keys.integer("vocab_size", 1, MAX_VOCAB_SIZE),
            max_positions=keys.integer("max_positions", 1, MAX_POSITIONS),
            token_types=keys.integer("token_types", 0, MAX_TOKEN_TYPES),
            layer_norm_eps=keys.number("layer_norm_eps", 0.0, 1.0),
            activation=keys.choice("activation", ACTIVATIONS),
            layers=keys.items("layers", Layer.from_json, 1, MAX_LAYERS),
            pooling=keys.choice("pooling", POOLINGS),
            head=keys.items("head", HeadLayer.from_json, 0, MAX_HEAD_LAYERS, []),
            normalize=keys.boolean("normalize", False),
            embedding_size=keys.integer("embedding_size", 0, MAX_HIDDEN_SIZE, 0),
            position_table=keys.boolean("position_table", True),
            position_bias=keys.boolean("position_bias", False),
            pre_norm=keys.boolean("pre_norm", False),
            gated=keys.boolean("gated", False),
            word_size=keys.integer("word_size", 0, MAX_HIDDEN_SIZE, 0),
            exits=keys.items("exits", Exit.from_json, 0, MAX_LAYERS, []),
        )
        keys.end()
        return architecture


@record
class Task:
    """What the outputs mean."""

    kind: TaskKind
    labels: tuple[str, ...] = ()
    problem_type: ProblemType = "single_label"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"

    @classmethod
    def from_json(cls, value: Any, where: str) -> Task:
        """Read and check the task; raises FormatError naming the key."""
        keys = Fields(value, where)
        task = cls(
            kind=keys.choice("kind", TASK_KINDS),
            labels=keys.items("labels", string, 0, MAX_LABELS, []),
            problem_type=keys.choice("problem_type", PROBLEM_TYPES, "single_label"),
            prompts=keys.mapping("prompts", string, {}),
            default_prompt=keys.take("default_prompt", None),
            similarity=keys.choice("similarity", SIMILARITIES, "cosine"),
        )
        keys.end()
        default = task.default_prompt
        if default is not None and (type(default) is not str or default not in task.prompts):
            raise FormatError(f"{where}.default_prompt must be null or one of the prompts, not {shown(default)}")
        return task


@record
class TextConfig:
    """How text becomes ids, beside what tokenizer.json says itself."""

    max_length: int

    @classmethod
    def from_json(cls, value: Any, where: str) -> TextConfig:
        """Read and check the text config; raises FormatError naming the key."""
        keys = Fields(value, where)
        text = cls(max_length=keys.integer("max_length", 1, MAX_POSITIONS))
        keys.end()
        return text


@record
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

    @classmethod
    def from_json(cls, value: Any) -> Config:
        """Read a config out of plain JSON values (dicts, lists, strings, numbers), trusting nothing.

        Every key is checked by itself here; that the parts agree with one another is `expected_tensors`' part.

        Raises:
            FormatError: naming the key that is missing, unknown, of the wrong type or out of range.
        """
        keys = Fields(value, "config")
        config = cls(
            architecture=Architecture.from_json(keys.take("architecture"), "config.architecture"),
            task=Task.from_json(keys.take("task"), "config.task"),
            text=TextConfig.from_json(keys.take("text"), "config.text"),
            linears=keys.mapping("linears", Linear.from_json),
            tables=keys.mapping("tables", Table.from_json),
            aliases=keys.mapping("aliases", string, {}),
            recipe=keys.mapping("recipe", free_form, {}),
            report=keys.mapping("report", free_form, {}),
            provenance=keys.mapping("provenance", free_form, {}),
        )
        keys.end()
        return config

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON values (dicts, lists, strings, numbers), which `from_json` turns back into it."""
        return _as_json(self)


def _as_json(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {key.name: _as_json(getattr(value, key.name)) for key in fields(value)}
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return value
