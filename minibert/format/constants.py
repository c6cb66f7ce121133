"""Sizes that are part of the format, and limits of what a file may say.

The limits keep the arithmetic of the kernels exact, whatever the file says, and are far above any real BERT.
"""

from __future__ import annotations

from typing import Literal, get_args

#: Outputs of a matrix lie in panels of LANES, hidden sizes are padded to a multiple of LANES.
LANES = 16
#: Inputs of an int8 matrix lie in groups of GROUP: what one `vpdpbusd` or `sdot` lane consumes.
GROUP = 4
#: A block-sparse matrix is made of blocks of BLOCK outputs x GROUP inputs: 16 bytes, one 128-bit register.
BLOCK = 4
#: Stored blocks of four bits that share their multipliers, one for each output of a block: 64 bytes of codes.
RUN = 8
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
#: What one layer counts for, where the rows of all of them are mixed.
MAX_LAYER_WEIGHT = 1e6
#: Linears on every token beside the answer: as many places as a job has for their rows.
MAX_TOKEN_HEADS = 2
TOKEN_HEADS = ("tokens.vectors", "tokens.weights")
MAX_POSITIONS = 65536
MAX_ROTARY_BASE = 1e9
MAX_ROTARY_FREQUENCY = 1024.0
#: Different rotations in one model: each has a table of all positions.
MAX_ROTARIES = 4
MAX_TOKEN_TYPES = 256
MAX_VOCAB_SIZE = 1 << 24
MAX_CHARACTERS_PER_TOKEN = 1 << 16
#: Tokens that have no vectors, where every token has one: punctuation, perhaps stop words.
MAX_SKIPPED = 4096
#: Numbers in one tensor: products of any two of a tensor's sizes stay far inside int64, as bytes too.
MAX_ELEMENTS = 1 << 40
MAX_LABELS = MAX_OUTPUTS

LinearKind = Literal["float32", "int8", "int8-4x4", "int4", "int4-4x4", "codebook"]
TableKind = Literal["float32", "int8", "float32-panels", "int8-panels", "int4", "codebook"]
Activation = Literal["none", "gelu", "gelu_tanh", "relu", "silu", "tanh"]
Pooling = Literal["none", "cls", "mean", "max", "last", "weighted_mean", "mean_sqrt_length"]
HeadKind = Literal["linear", "norm", "normalize"]
TaskKind = Literal[
    "text-classification",
    "sentence-embedding",
    "multi-vector",
    "token-classification",
    "question-answering",
    "fill-mask",
]
NormKind = Literal["layer", "rms"]
ProblemType = Literal["single_label", "multi_label", "regression"]

#: What this release reads of each.
MODEL_TYPES = (
    "albert",
    "bert",
    "camembert",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "dpr",
    "electra",
    "ernie",
    "eurobert",
    "gte",
    "jina_embeddings_v3",
    "megatron-bert",
    "modernbert",
    "mpnet",
    "mt5",
    "neobert",
    "nomic_bert",
    "roberta",
    "static",
    "t5",
    "xlm-roberta",
)
LINEAR_KINDS: tuple[LinearKind, ...] = get_args(LinearKind)
#: Dense matrices stored with four bits a weight; each stands for an int8 matrix exactly.
FOUR_BIT_KINDS = ("int4", "codebook")
#: Matrices of which only some blocks are stored; one of four bits stands for one of int8 exactly.
BLOCK_KINDS = ("int8-4x4", "int4-4x4")
TABLE_KINDS: tuple[TableKind, ...] = get_args(TableKind)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)
TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
NORM_KINDS: tuple[NormKind, ...] = get_args(NormKind)
PROBLEM_TYPES: tuple[ProblemType, ...] = get_args(ProblemType)
#: Tasks whose outputs have names.
LABELED_TASKS: tuple[TaskKind, ...] = ("text-classification", "token-classification")
#: How the weights of a word at all tokens become one.
SPARSE_POOLINGS = ("max", "sum")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
#: Those of one vector a token (late interaction): the sum or the mean over a query's tokens of the best match.
TOKEN_SIMILARITIES = ("maxsim", "meanmaxsim")


def distances(max_positions: int) -> int:
    """Columns of a table of biases by distance: 16 may be read at once, and distance 0 is at half of them less 8."""
    return padded(2 * max_positions - 1 + LANES - 1)


def padded(size: int, multiple: int = LANES) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def low_rank(name: str) -> tuple[str, str]:
    """The linears of another one's low-rank part, y = W x + b + up(down(x)), in the order in which x meets them."""
    return f"{name}.low_rank.down", f"{name}.low_rank.up"
