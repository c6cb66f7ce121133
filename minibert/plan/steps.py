"""The steps of a plan, and the buffers that they read and write.

The steps are the whole vocabulary of the engine. A family of models adds steps or parameters here, never a second
engine. The NumPy reference executes the plan as it is; `minibert.engine.lower` turns it into the integer table that
the compiled kernels walk.
"""

from __future__ import annotations

from typing import Literal

from minibert.format.constants import Activation, Pooling
from minibert.tuples import NamedTuple

Rows = Literal["tokens", "texts"]
#: "gelu_codes" is the GELU of rows that are kept as codes only: it need not be finer than they are.
StepActivation = Activation | Literal["gelu_codes"]
#: Embedding tables in the order in which their rows are added up.
TABLES = ("embeddings.word", "embeddings.position", "embeddings.token_type")


class Buffer(NamedTuple):
    """A float32 matrix in the arena: one row a token or a text, `width` columns (a multiple of 16)."""

    name: str
    rows: Rows
    width: int


class Codes(NamedTuple):
    """The int8 input of a linear: one row of codes and one float32 scale a token or a text.

    `linear` names the consumer: its `input_factor`, if it has one, multiplies the row before it is quantized.
    """

    name: str
    rows: Rows
    width: int
    linear: str


class Embed(NamedTuple):
    """out = LayerNorm(word[id] + position[i] + token_type[type]): the sum of those `tables`, and the norm if any.

    `total` keeps what LayerNorm is given.
    """

    tables: tuple[str, ...]
    norm: str | None
    out: Buffer
    codes: Codes | None
    total: Buffer | None = None


class Quantize(NamedTuple):
    """Rows of float32 become codes, where the producer could not do it in its own epilogue."""

    source: Buffer
    codes: Codes


class Matmul(NamedTuple):
    """out = LayerNorm(activation(W source + b + residual)), each part optional, then perhaps codes for the next one.

    If `gated`, W source + b are two halves a and b, activation(a) * b goes on, and there is no residual. `total` keeps
    what LayerNorm is given.
    """

    linear: str
    source: Buffer | Codes
    activation: StepActivation
    residual: Buffer | None
    norm: str | None
    out: Buffer | None
    codes: Codes | None
    gated: bool = False
    total: Buffer | None = None


class Rotate(NamedTuple):
    """Features 2i and 2i + 1 of queries and keys are rotated by the angle position * base**(-2i / head_size).

    Or by position * frequency[i], where not the base is given but the frequencies.
    """

    buffer: Buffer
    num_heads: int
    head_size: int
    padded_head_size: int
    rotation: float | tuple[float, ...]


class Attend(NamedTuple):
    """Softmax attention within each text: source rows hold queries, keys and values of all heads.

    `head_size` is the model's own (it sets the scale 1/sqrt(head_size)); in memory a head is `padded_head_size` wide.
    With `exact` the products are float32, else of integer codes. `bias` names a tensor of what is added to the scores
    by head and distance of query and key; keys further away than `window` are left out, if it isn't 0.
    `relative` names tables of keys and queries of distances, whose products with queries and keys are added to scores
    before the scale, which is then 1/sqrt(3 head_size), as each score is three products (DeBERTa, arXiv 2006.03654).
    If the rows of `out` are texts, the only query of each is its first token's.
    """

    source: Buffer
    out: Buffer
    num_heads: int
    head_size: int
    padded_head_size: int
    exact: bool
    bias: str | None = None
    window: int = 0
    relative: tuple[str, str] | None = None

    @property
    def products(self) -> int:
        """How many products of vectors a score is the sum of."""
        return 3 if self.relative else 1


class Mix(NamedTuple):
    """out = out + weight * source; without the first addend if it is the `first` source."""

    source: Buffer
    out: Buffer
    weight: float
    first: bool


class Pool(NamedTuple):
    """One row a text from its tokens' rows, of which `size` columns count: what each kind makes of them, end to end.

    Tokens that the caller doesn't want are left out; a token's place in its text, by which "weighted_mean" multiplies
    its row, stays what it was.
    """

    kinds: tuple[Pooling, ...]
    source: Buffer
    out: Buffer
    size: int


class PruneTokens(NamedTuple):
    """Of each text the first token stays, and those that it attends to most: `keep` of its tokens, rounded up.

    The queries and keys of all heads are in `source` as for Attend; rows of `hidden` and `context` stay with their
    tokens, in order (PoWER-BERT, arXiv 2001.08950, with the first token's attention as the score).
    """

    source: Buffer
    hidden: Buffer
    context: Buffer
    num_heads: int
    head_size: int
    padded_head_size: int
    keep: float


class SelectTokens(NamedTuple):
    """Rows of tokens that the caller doesn't want are left out of `hidden` and `context`; all stay if it names none."""

    hidden: Buffer
    context: Buffer


class Exit(NamedTuple):
    """A text whose likeliest label has at least the probability `threshold` leaves with these logits as its answer.

    The rows of `hidden` of the others stay (early exit: DeeBERT, arXiv 2004.12993).
    """

    logits: Buffer
    hidden: Buffer
    labels: int
    threshold: float


class Norm(NamedTuple):
    """LayerNorm of the first `size` columns of each row, by the weight and bias of that name."""

    buffer: Buffer
    norm: str
    size: int
    eps: float


class Normalize(NamedTuple):
    """Each row is divided by its Euclidean length."""

    buffer: Buffer


Step = Embed | Quantize | Matmul | Rotate | Attend | PruneTokens | SelectTokens | Mix | Pool | Exit | Norm | Normalize


class Plan(NamedTuple):
    """Steps in order, and the buffer that holds the answer (its first `out_features` columns).

    `token_outputs` are the buffers of more that is handed out of each token, with how many of their columns.
    """

    steps: tuple[Step, ...]
    output: Buffer
    out_features: int
    token_outputs: tuple[tuple[Buffer, int], ...] = ()
