"""What a minibert file says about its model: the JSON config, as frozen dataclasses.

The config describes the model completely; from it `expected_tensors` (tensors.py) derives the name, dtype and shape of
every tensor that the file must hold, so that the reader can prove a file before a kernel sees its memory.
docs/FORMAT.md tells the same in prose, with the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal

from minibert.errors import FormatError
from minibert.format.record import record
from minibert.format.values import Fields, free_form, shown, string

FORMAT_NAME = "minibert"
FORMAT_VERSION = 1

#: Outputs of a matrix lie in panels of LANES, hidden sizes are padded to a multiple of LANES.
LANES = 16
#: Inputs of an int8 matrix lie in groups of GROUP: what one `vpdpbusd` or `sdot` lane consumes.
GROUP = 4
#: A block-sparse matrix is made of blocks of BLOCK outputs x GROUP inputs: 16 bytes, one 128-bit register.
BLOCK = 4
#: Codes of 4 bits lie in [-INT4_LIMIT, INT4_LIMIT]. A group of them shares a whole-numbered multiplier, of which the
#: largest is MAX_MULTIPLIER: 7 * 18 is below 127, so the products are codes of 8 bits.
INT4_LIMIT = 7
MAX_MULTIPLIER = 18
#: Columns of an embedding table of 4-bit codes that share a multiplier.
NIBBLE_GROUP = 32
#: Entries of a table's codebook, as many as a byte can tell apart, and how many columns an entry may have.
CODEBOOK_ENTRIES = 256
SUBVECTOR_SIZES = (4, 8, 16)
#: Values that a panel of a matrix of kind "codebook" shares, as many as half a byte can tell apart.
CODEBOOK_VALUES = 16
#: Every tensor that a kernel reads starts on a multiple of ALIGNMENT bytes of the file.
ALIGNMENT = 64

# Limits. They keep the arithmetic of the kernels exact, whatever the file says, and are far above any real BERT.
#: Inputs of a matrix: an int32 sum of MAX_WIDTH products of an unsigned (<= 255) and a signed (>= -128) byte is exact.
MAX_WIDTH = 65536
#: Outputs of a matrix: those of fill-mask models are the words of the vocabulary.
MAX_OUTPUTS = 1 << 20
#: Blocks of a matrix: where a group of outputs begins among them is an int32.
MAX_BLOCKS = (1 << 31) - 1
MAX_HIDDEN_SIZE = 16384
MAX_HEAD_SIZE = 256
MAX_HEADS = 1024
MAX_LAYERS = 256
MAX_HEAD_LAYERS = 16
MAX_POSITIONS = 65536
MAX_ROTARY_BASE = 1e9
MAX_TOKEN_TYPES = 256
MAX_VOCAB_SIZE = 1 << 24
#: Numbers in one tensor: products of any two of a tensor's sizes stay far inside int64, as bytes too.
MAX_ELEMENTS = 1 << 40
MAX_LABELS = MAX_OUTPUTS

LinearKind = Literal["float32", "int8", "int8-4x4", "int4", "codebook"]
TableKind = Literal["float32", "int8", "float32-panels", "int8-panels", "int4", "codebook"]
Activation = Literal["none", "gelu", "gelu_tanh", "relu", "silu", "tanh"]
Pooling = Literal["none", "cls", "mean", "max", "last"]
TaskKind = Literal[
    "text-classification", "sentence-embedding", "token-classification", "question-answering", "fill-mask"
]
ProblemType = Literal["single_label", "multi_label", "regression"]

#: What this release reads of each.
MODEL_TYPES = (
    "albert",
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "roberta",
    "xlm-roberta",
)
LINEAR_KINDS = ("float32", "int8", "int8-4x4", "int4", "codebook")
#: Stored with four bits a weight; each stands for an int8 matrix exactly.
FOUR_BIT_KINDS = ("int4", "codebook")
TABLE_KINDS = ("float32", "int8", "float32-panels", "int8-panels", "int4", "codebook")
ACTIVATIONS = ("none", "gelu", "gelu_tanh", "relu", "silu", "tanh")
POOLINGS = ("none", "cls", "mean", "max", "last")
TASK_KINDS = ("text-classification", "sentence-embedding", "token-classification", "question-answering", "fill-mask")
PROBLEM_TYPES = ("single_label", "multi_label", "regression")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def distances(max_positions: int) -> int:
    """Columns of a table of biases by distance: 16 may be read at once, and distance 0 is at half of them less 8."""
    return padded(2 * max_positions - 1 + LANES - 1)


def padded(size: int, multiple: int = LANES) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def low_rank(name: str) -> tuple[str, str]:
    """The linears of another one's low-rank part, y = W x + b + up(down(x)), in the order in which x meets them."""
    return f"{name}.low_rank.down", f"{name}.low_rank.up"


@record
class Linear:
    """One weight matrix with its bias: `y = W x + b`.

    Attributes:
        kind: how the weights are stored and multiplied.
        in_features: inputs, a multiple of LANES (padding inputs have zero weights).
        out_features: outputs that mean something; stored padded to a multiple of LANES with zeros.
        input_factor: whether a vector multiplies the input before it is quantized (outlier migration,
            SmoothQuant, arXiv 2211.10438); only for int8 kinds.
        blocks: number of stored blocks of BLOCK outputs x GROUP inputs; for "int8-4x4" only.
        group_size: inputs of one output that share a multiplier, a multiple of GROUP; for "int4" only.
    """

    kind: LinearKind
    in_features: int
    out_features: int
    input_factor: bool = False
    blocks: int = 0
    group_size: int = 0

    @property
    def groups(self) -> int:
        """Multipliers of one output of an "int4" matrix; the last may have fewer inputs than the others."""
        return -(-self.in_features // self.group_size)

    @property
    def all_blocks(self) -> int:
        """Blocks that the matrix is made of, stored or not; those of outputs that are only padding are not counted."""
        return -(-self.out_features // BLOCK) * (self.in_features // GROUP)

    @property
    def density(self) -> float:
        """Fraction of the weights that is stored: below 1 for "int8-4x4" only."""
        return self.blocks / self.all_blocks if self.kind == "int8-4x4" else 1.0

    @classmethod
    def from_json(cls, value: Any, where: str) -> Linear:
        """Read and check one linear; raises FormatError naming the key."""
        keys = Fields(value, where)
        linear = cls(
            kind=keys.choice("kind", LINEAR_KINDS),
            in_features=keys.integer("in_features", LANES, MAX_WIDTH),
            out_features=keys.integer("out_features", 1, MAX_OUTPUTS),
            input_factor=keys.boolean("input_factor", False),
            blocks=keys.integer("blocks", 0, MAX_BLOCKS, 0),
            group_size=keys.integer("group_size", 0, MAX_WIDTH, 0),
        )
        keys.end()
        if linear.in_features % LANES:
            raise FormatError(f"{where}.in_features must be a multiple of {LANES}, not {linear.in_features}")
        if linear.input_factor and linear.kind == "float32":
            raise FormatError(f"{where}.input_factor is for int8 matrices: a float32 one has nothing to migrate")
        if linear.blocks and linear.kind != "int8-4x4":
            raise FormatError(f"{where}.blocks is for the kind int8-4x4, not for {linear.kind}")
        if linear.blocks > linear.all_blocks:
            raise FormatError(f"{where}.blocks is {linear.blocks}, but the matrix has {linear.all_blocks} of them")
        if (linear.kind == "int4") != (linear.group_size > 0):
            raise FormatError(f"{where}.group_size is {linear.group_size}; int4 matrices have one, and no others")
        if linear.group_size % GROUP:
            raise FormatError(f"{where}.group_size must be a multiple of {GROUP}, not {linear.group_size}")
        return linear


@record
class Table:
    """One embedding table, `rows` rows of the padded hidden size; all but "float32" have one float32 scale a row.

    A row of "int4" has 4-bit codes, and for each NIBBLE_GROUP columns a small whole number that multiplies them. A row
    of "codebook" has a byte for each `subvector_size` columns, which says what entry of a codebook they are (product
    quantization; Jégou et al., IEEE TPAMI 33(1), 2011). The kinds with "panels" lie as a linear of `rows` outputs
    does, so that the head of a fill-mask model can be the same tensor; only the table of words may.
    """

    kind: TableKind
    rows: int
    subvector_size: int = 0

    @classmethod
    def from_json(cls, value: Any, where: str) -> Table:
        """Read and check one table; raises FormatError naming the key."""
        keys = Fields(value, where)
        table = cls(
            kind=keys.choice("kind", TABLE_KINDS),
            rows=keys.integer("rows", 1, MAX_VOCAB_SIZE),
            subvector_size=keys.integer("subvector_size", 0, max(SUBVECTOR_SIZES), 0),
        )
        keys.end()
        sizes = SUBVECTOR_SIZES if table.kind == "codebook" else (0,)
        if table.subvector_size not in sizes:
            allowed = " or ".join(map(str, sizes))
            raise FormatError(f"{where}.subvector_size is {table.subvector_size}; of {table.kind} it must be {allowed}")
        return table


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
        if not layer.name.startswith("head.") or not layer.name.isprintable() or len(layer.name) > 100:
            raise FormatError(f"{where}.name must be 'head.' and a short name, not {shown(layer.name)}")
        return layer


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
