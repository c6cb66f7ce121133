"""What a minibert file says about its model: the JSON config, as frozen dataclasses.

The config describes the model completely; from it `expected_tensors` (tensors.py) derives the name, dtype and shape of
every tensor that the file must hold, so that the reader can prove a file before a kernel sees its memory.
docs/FORMAT.md tells the same in prose, with the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from minibert.errors import FormatError
from minibert.format.constants import (
    ACTIVATIONS,
    HEAD_KINDS,
    MAX_CHARACTERS_PER_TOKEN,
    MAX_HEAD_LAYERS,
    MAX_HEAD_SIZE,
    MAX_HEADS,
    MAX_HIDDEN_SIZE,
    MAX_LABELS,
    MAX_LAYER_WEIGHT,
    MAX_LAYERS,
    MAX_POSITIONS,
    MAX_ROTARIES,
    MAX_ROTARY_BASE,
    MAX_ROTARY_FREQUENCY,
    MAX_SKIPPED,
    MAX_TOKEN_HEADS,
    MAX_TOKEN_TYPES,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
    MODEL_TYPES,
    NORM_KINDS,
    POOLINGS,
    PROBLEM_TYPES,
    SIMILARITIES,
    SPARSE_POOLINGS,
    TASK_KINDS,
    TOKEN_HEADS,
    TOKEN_SIMILARITIES,
    Activation,
    HeadKind,
    NormKind,
    Pooling,
    ProblemType,
    TaskKind,
)
from minibert.format.parts import Linear, Table
from minibert.format.record import FromJson, as_json, key, record
from minibert.format.token_tables import Tokenization
from minibert.format.values import (
    boolean,
    choice,
    free_form,
    integer,
    items,
    mapping,
    number,
    optional,
    shown,
    string,
    wrong,
)

FORMAT_NAME = "minibert"
FORMAT_VERSION = 1


@record
class Layer(FromJson):
    """One transformer layer: sizes may differ between layers after structured pruning.

    Attributes:
        num_heads: attention heads.
        ffn_size: neurons between the two halves of the feed-forward network.
        window: tokens to either side that a token attends to; 0 for all.
        rotary_base: base of the frequencies by which queries and keys are rotated (RoPE, arXiv 2104.09864); 0 for none.
        rotary: which of the architecture's `rotary_frequencies` they are instead, from 1 on; 0 for none.
        keep_tokens: fraction of a text's tokens that go on from this layer's attention (token pruning); 1 for all.
    """

    num_heads: int = key(integer(1, MAX_HEADS))
    ffn_size: int = key(integer(1, MAX_WIDTH))
    window: int = key(integer(0, MAX_POSITIONS), default=0)
    rotary_base: float = key(number(1.0, MAX_ROTARY_BASE, also=0.0), default=0.0)
    keep_tokens: float = key(number(0.0, 1.0), default=1.0)
    rotary: int = key(integer(0, MAX_ROTARIES), default=0, written=False)

    @property
    def by_place(self) -> bool:
        """Whether attention asks where in the text a token stands, beside what is added to its embedding."""
        return bool(self.window or self.rotary_base or self.rotary)


@record
class Exit(FromJson):
    """After layer `after`, a text leaves whose likeliest label has at least the probability `threshold` (early exit).

    The labels' logits are the linear "exits.`after`" of the mean of its tokens' rows.
    """

    after: int = key(integer(0, MAX_LAYERS))
    threshold: float = key(number(0.0, 1.0))


@record
class HeadLayer(FromJson):
    """One layer of what stands behind the encoder: what becomes of each row.

    Attributes:
        name: of its tensors.
        activation: what follows a linear.
        norm: whether a LayerNorm `name`.norm follows that.
        kind: "linear" is the linear `name`; "norm" a LayerNorm `name`; "normalize" divides a row by its L2 norm.
        eps: of a layer that is a LayerNorm.
        residual: whether the row that a linear was given is added to what its activation returned.
    """

    name: str = key(string)
    activation: Activation = key(choice(ACTIVATIONS), default="none")
    norm: bool = key(boolean, default=False)
    kind: HeadKind = key(choice(HEAD_KINDS), default="linear", written=False)
    eps: float = key(number(0.0, 1.0, also=0.0), default=0.0, written=False)
    residual: bool = key(boolean, default=False, written=False)

    def check(self, where: str) -> None:
        """Refuse names that the format makes itself, and what only layers of another kind have."""
        if not _is_head_name(self.name):
            raise FormatError(f"{where}.name must be 'head.WORD' or 'head.WORD.NUMBER', not {shown(self.name)}")
        if self.kind != "linear" and (self.activation != "none" or self.norm or self.residual):
            raise FormatError(f"{where}: activation, norm and residual are for linears, but its kind is {self.kind}")
        if (self.eps > 0) != (self.kind == "norm"):
            raise FormatError(f"{where}.eps is {self.eps}, but its kind is {self.kind}: a norm has one, others don't")
        if self.norm and self.residual:
            raise FormatError(f"{where}: a layer has either a norm or a residual")


@record
class TokenHead(FromJson):
    """A linear on the last row of every token, beside the answer of the text, and what follows it.

    Attributes:
        name: "tokens.vectors", whose rows are vectors of all tokens but the first, or "tokens.weights", whose one
            output is what a token weighs in a sparse vector (BGE-M3, arXiv 2402.03216).
        activation: after the linear.
        normalize: whether rows are divided by their L2 norm.
    """

    name: str = key(choice(TOKEN_HEADS))
    activation: Activation = key(choice(ACTIVATIONS), default="none")
    normalize: bool = key(boolean, default=False)


def _is_head_name(name: str) -> bool:
    """Whether a file may call a layer so.

    It is the one name that a file chooses, and never one that the format makes: those end in a word behind another.
    """
    start, *parts = name.split(".")
    words = all([part and f"_{part}".isidentifier() for part in parts])
    if start != "head" or not words or not name.isascii() or len(name) > 100:
        return False
    return len(parts) == 1 or (len(parts) == 2 and parts[1].isdecimal())


def _pooling(value: Any, where: str) -> str:
    """One of POOLINGS, or different ones joined by "+"."""
    kinds = value.split("+") if type(value) is str and len(value) < 100 else []
    if value not in POOLINGS and (len(set(kinds)) < max(len(kinds), 1) or not set(kinds) <= set(POOLINGS) - {"none"}):
        raise wrong(where, f"one of {', '.join(POOLINGS)}, or different ones joined by +", value)
    return value


def _layer_weight(value: Any, where: str) -> float:
    """A finite number of either sign."""
    if type(value) not in (int, float) or not abs(value) <= MAX_LAYER_WEIGHT:
        raise wrong(where, f"a number between {-MAX_LAYER_WEIGHT} and {MAX_LAYER_WEIGHT}", value)
    return float(value)


@record
class Architecture(FromJson):
    """The shape of the network, from token ids to the rows that `forward` returns.

    Without layers a text's vector is made of the rows of its words as they are: no positions, no types, no norm.

    Attributes:
        embedding_size: columns of the embedding tables, which `embeddings.projection` brings to `hidden_size`; 0 where
            the tables have `hidden_size` columns and there is no projection.
        word_size: columns of the table of words, where `embeddings.word_projection` brings them to those of the other
            tables before they are added up; 0 where it has as many as they.
        position_table: whether there is a table of position embeddings.
        position_bias: whether each layer adds a number for each head and distance of two tokens to attention scores.
        relative_rows: rows of the tables of keys and queries that each layer's attention has for distances of two
            tokens (DeBERTa, arXiv 2006.03654); 0 for no such tables.
        pre_norm: whether LayerNorms stand before attention and feed-forward, and residual sums go by them.
        gated: whether the feed-forward is down(activation(a) * b), where `ffn.up` returns a and b.
        exits: where a classifier may answer before its last layer, by rising layer.
        norm: what stands for LayerNorm: "layer" itself, or "rms", which takes no mean away (RMSNorm, arXiv 1910.07467).
        sum_of_embeddings: whether, with `pre_norm`, the residual sum begins with what `embeddings.norm` is given rather
            than with its result.
        token_heads: what else is made of every token, where the answer is one row a text.
        rotary_frequencies: by which pairs of features are rotated, in layers that have no base: each names one row.
        pooling: how the rows of a text's tokens become one: one of POOLINGS, or several joined by "+", whose rows then
            lie one behind another; "none" leaves every token its row.
        head: what becomes of rows behind the encoder.
        pool_after: how many layers of the head come before pooling.
        pool_prompt: whether the tokens of a prompt are pooled as well.
        layer_weights: what the embeddings' rows and those of each layer are multiplied by, where it is their sum that
            pooling sees; else none.
    """

    model_type: str = key(choice(MODEL_TYPES))
    hidden_size: int = key(integer(1, MAX_HIDDEN_SIZE))
    head_size: int = key(integer(1, MAX_HEAD_SIZE))
    vocab_size: int = key(integer(1, MAX_VOCAB_SIZE))
    max_positions: int = key(integer(1, MAX_POSITIONS))
    token_types: int = key(integer(0, MAX_TOKEN_TYPES))
    layer_norm_eps: float = key(number(0.0, 1.0))
    activation: Activation = key(choice(ACTIVATIONS))
    layers: tuple[Layer, ...] = key(items(Layer.from_json, 0, MAX_LAYERS))
    pooling: str = key(_pooling)
    head: tuple[HeadLayer, ...] = key(items(HeadLayer.from_json, 0, MAX_HEAD_LAYERS), default=())
    normalize: bool = key(boolean, default=False)
    embedding_size: int = key(integer(0, MAX_HIDDEN_SIZE), default=0)
    position_table: bool = key(boolean, default=True)
    position_bias: bool = key(boolean, default=False)
    pre_norm: bool = key(boolean, default=False)
    gated: bool = key(boolean, default=False)
    word_size: int = key(integer(0, MAX_HIDDEN_SIZE), default=0)
    exits: tuple[Exit, ...] = key(items(Exit.from_json, 0, MAX_LAYERS), default=())
    norm: NormKind = key(choice(NORM_KINDS), default="layer", written=False)
    sum_of_embeddings: bool = key(boolean, default=False, written=False)
    relative_rows: int = key(integer(0, 2 * MAX_POSITIONS), default=0, written=False)
    token_heads: tuple[TokenHead, ...] = key(items(TokenHead.from_json, 0, MAX_TOKEN_HEADS), default=(), written=False)
    rotary_frequencies: tuple[tuple[float, ...], ...] = key(
        items(items(number(0.0, MAX_ROTARY_FREQUENCY, also=0.0), 1, MAX_HEAD_SIZE // 2), 0, MAX_ROTARIES),
        default=(),
        written=False,
    )
    pool_after: int = key(integer(0, MAX_HEAD_LAYERS), default=0, written=False)
    pool_prompt: bool = key(boolean, default=True, written=False)
    layer_weights: tuple[float, ...] = key(items(_layer_weight, 0, MAX_LAYERS + 1), default=(), written=False)

    @property
    def goes_by_places(self) -> bool:
        """Whether attention asks how far apart two tokens stand."""
        if self.position_bias or self.relative_rows:
            return True
        return any([layer.by_place for layer in self.layers])

    def rotation(self, layer: Layer) -> float | tuple[float, ...]:
        """The frequencies by which a layer's queries and keys are rotated, or the base of them; 0 if they are not."""
        return self.rotary_frequencies[layer.rotary - 1] if layer.rotary else layer.rotary_base

    @property
    def table_size(self) -> int:
        """Columns of the embedding tables that mean something."""
        return self.embedding_size or self.hidden_size

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """What pooling makes of the rows of a text's tokens, in the order in which it lies in one row."""
        return () if self.pooling == "none" else cast("tuple[Pooling, ...]", tuple(self.pooling.split("+")))


_TOKEN_ID = integer(0, MAX_VOCAB_SIZE - 1)


@record
class Side(FromJson):
    """How a model of one vector a token reads queries, or documents (ColBERT, arXiv 2004.12832).

    Attributes:
        max_length: tokens to which texts are cut, special ones and the prefix included.
        prefix: id of a token that is put behind a text's first one; None for none.
        fill_to: tokens up to which shorter texts are filled with `fill_token` (query expansion); 0 for no filling.
        fill_token: id of that token.
        attend_to_fill: whether filling is attended to; if not, it still has vectors.
        skip: ids of tokens that have no vectors.
    """

    max_length: int = key(integer(1, MAX_POSITIONS))
    prefix: int | None = key(optional(_TOKEN_ID), default=None)
    fill_to: int = key(integer(0, MAX_POSITIONS), default=0)
    fill_token: int = key(_TOKEN_ID, default=0)
    attend_to_fill: bool = key(boolean, default=False)
    skip: tuple[int, ...] = key(items(_TOKEN_ID, 0, MAX_SKIPPED), default=())


@record
class Task(FromJson):
    """What the outputs mean.

    In sparse vectors that a fill-mask head makes, a word's weight at a token is log(1 + max(logit, 0)), the logarithm
    taken `sparse_logs` times, and that in the text the largest of these or their sum (`sparse_pooling`). In those that
    token heads make, the tokens `weightless` weigh nothing. A text whose best label is less probable than
    `other_below` has none of the labels, and is called `other`.
    """

    kind: TaskKind = key(choice(TASK_KINDS))
    labels: tuple[str, ...] = key(items(string, 0, MAX_LABELS), default=())
    problem_type: ProblemType = key(choice(PROBLEM_TYPES), default="single_label")
    prompts: Mapping[str, str] = key(mapping(string), default_factory=dict)
    default_prompt: str | None = key(lambda value, _: value, default=None)
    similarity: str = key(choice((*SIMILARITIES, *TOKEN_SIMILARITIES)), default="cosine")
    query: Side | None = key(optional(Side.from_json), default=None, written=False)
    document: Side | None = key(optional(Side.from_json), default=None, written=False)
    sparse_pooling: str = key(choice(SPARSE_POOLINGS), default="max", written=False)
    sparse_logs: int = key(integer(1, 2), default=1, written=False)
    weightless: tuple[int, ...] = key(items(_TOKEN_ID, 0, MAX_SKIPPED), default=(), written=False)
    other: str = key(string, default="", written=False)
    other_below: float = key(number(0.0, 1.0, also=0.0), default=0.0, written=False)

    def check(self, where: str) -> None:
        """Refuse a default that is no prompt."""
        default = self.default_prompt
        if default is not None and (type(default) is not str or default not in self.prompts):
            raise FormatError(f"{where}.default_prompt must be null or one of the prompts, not {shown(default)}")


@record
class TextConfig(FromJson):
    """How text becomes ids, beside what tokenizer.json says itself.

    Attributes:
        max_length: tokens that are kept of a text, unless a caller says otherwise.
        characters_per_token: of a text, no more is looked at than so many characters for each token kept; 0 for all.
        ignored_id: id of tokens that are left out once a text is cut; -1 for none.
        empty_id: id of the one token that a text without tokens has; -1 where every text has some.
        tables: the tokenizer as tables; None where tokenizer.json is all that there is of it.
    """

    max_length: int = key(integer(1, MAX_POSITIONS))
    characters_per_token: int = key(integer(0, MAX_CHARACTERS_PER_TOKEN), default=0, written=False)
    ignored_id: int = key(integer(-1, MAX_VOCAB_SIZE - 1), default=-1, written=False)
    empty_id: int = key(integer(-1, MAX_VOCAB_SIZE - 1), default=-1, written=False)
    tables: Tokenization | None = key(optional(Tokenization.from_json), default=None, written=False)


@record
class Config(FromJson):
    """All of the JSON in a file's metadata."""

    architecture: Architecture = key(Architecture.from_json)
    task: Task = key(Task.from_json)
    text: TextConfig = key(TextConfig.from_json)
    linears: Mapping[str, Linear] = key(mapping(Linear.from_json))
    tables: Mapping[str, Table] = key(mapping(Table.from_json))
    aliases: Mapping[str, str] = key(mapping(string), default_factory=dict)
    recipe: Mapping[str, Any] = key(mapping(free_form), default_factory=dict)
    report: Mapping[str, Any] = key(mapping(free_form), default_factory=dict)
    provenance: Mapping[str, Any] = key(mapping(free_form), default_factory=dict)

    @classmethod
    def from_json(cls, value: Any, where: str = "config") -> Config:
        """Read a config out of plain JSON values (dicts, lists, strings, numbers), trusting nothing.

        Every key is checked by itself here; that the parts agree with one another is `expected_tensors`' part.

        Raises:
            FormatError: naming the key that is missing, unknown, of the wrong type or out of range.
        """
        return super().from_json(value, where)

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON values (dicts, lists, strings, numbers), which `from_json` turns back into it."""
        return as_json(self)
