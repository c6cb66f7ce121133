"""The integer table into which a plan is lowered, and the job that says what to run it on.

Every entry is an int64. Buffers are offsets from the arena of a chunk (-1: absent), tensors are addresses (0: absent),
floats are the bits of a float32. `minibert.engine.lower` writes tables, `minibert.kernels.interpreter` walks them; this
module is all that they share, and it imports next to nothing.
"""

from __future__ import annotations

from enum import IntEnum

#: Entries of a step.
STEP_FIELDS = 33

#: First entry of every step: what it does, an `Op`.
OP = 0


class Op(IntEnum):
    """What a step does. From PRUNE_TOKENS on, fewer tokens or texts go on."""

    EMBED = 0
    MATMUL = 1
    ATTEND = 2
    QUANTIZE = 3
    POOL = 4
    NORMALIZE = 5
    OUTPUT = 6
    ROTATE = 7
    MIX = 8
    NORM = 9
    PRUNE_TOKENS = 20
    SELECT_TOKENS = 21
    EXIT = 22


#: Second entry of every step: whether its rows are tokens or texts.
ROWS = 1
TOKENS, TEXTS = range(2)

#: Where a step's result goes: shared by EMBED, MATMUL and QUANTIZE.
OUT, WIDTH, CODES, CODES_STRIDE, SCALES, FACTOR, NORM_WEIGHT, NORM_BIAS, NORM_SIZE, NORM_EPS = range(2, 12)

#: EMBED and MATMUL: where rows are kept before the norm, or -1; whether the norm takes no mean away.
TOTAL, NORM_RMS = range(29, 31)

#: EMBED: where the entries of each table begin, ...
WORD, POSITION, TYPE = range(12, 24, 4)
#: ... and what they are: rows, scales, what rows are decoded with (multipliers, a codebook), and one of NO_TABLE etc.
TABLE, TABLE_SCALE, TABLE_DECODER, TABLE_KIND = range(4)
NO_TABLE, FLOAT32_ROWS, FLOAT32_PANELS, INT8_ROWS, INT8_PANELS, INT4_ROWS = range(6)
#: A codebook's TABLE_KIND is CODEBOOK plus log2 of the numbers in one of its entries.
CODEBOOK = 16

#: MATMUL: `INNER` is the length of a source row in bytes, `SOURCE_STRIDE` the distance of two rows.
KIND, SOURCE, SOURCE_STRIDE, SOURCE_SCALES, INNER, WEIGHT, WEIGHT_SCALE, WEIGHT_SUM, BIAS, ACTIVATION, RESIDUAL = range(
    12, 23
)
#: MATMUL with 4x4 blocks: WEIGHT is the blocks, these are their input groups and where each group of outputs begins.
#: From DENSE_FROM rows at once on, and below DENSE_BELOW, they take the dense copy of the matrix.
BLOCK_INDICES, BLOCK_INDPTR, DENSE_WEIGHT, DENSE_FROM, DENSE_BELOW = range(23, 28)
INT8, FLOAT32, BLOCK_SPARSE, INT4, CODEBOOK_MATRIX, INT4_BLOCKS = range(6)
#: MATMUL by a matrix of four bits: WEIGHT is its codes, these are its multipliers or codebooks, and how many inputs
#: share a multiplier.
DECODER, GROUP_SIZE = range(31, 33)
#: MATMUL: columns of the product, twice WIDTH if one half gates the other.
OUTPUTS = 28

#: ATTEND: source in SOURCE, context in OUT of WIDTH columns.
HEADS, HEAD_WIDTH, HEAD_SCALE, EXACT = range(14, 18)
#: ATTEND: address of the bias of distance 0, or 0; bytes between two heads' biases; how far away keys may be.
BIAS_TABLE, BIAS_STRIDE, WINDOW = range(18, 21)
#: ATTEND where scores depend on distance in another way: address of the row of distance 0, or 0; the furthest distance
#: that has one; the two tables and, if they are codes, their scales.
DISTANCE_ROWS, MOST_DISTANCE, POSITION_KEY, POSITION_KEY_SCALE, POSITION_QUERY, POSITION_QUERY_SCALE = range(21, 27)

#: ROTATE, on rows of SOURCE and WIDTH: HEADS counts those of queries and keys; cosines and sines of each position.
ROTARY_TABLE = 16

#: PRUNE_TOKENS, SELECT_TOKENS and EXIT: how many texts go on and where they begin from then on; rows that stay with
#: their tokens.
TEXTS_LEFT, STARTS, HIDDEN, HIDDEN_WIDTH = range(17, 21)
#: PRUNE_TOKENS and SELECT_TOKENS: other rows that stay. PRUNE_TOKENS, on queries and keys in SOURCE as ATTEND has
#: them: how many of 1,024 tokens stay.
CONTEXT, CONTEXT_WIDTH, KEPT = range(21, 24)
#: EXIT, on logits in SOURCE of WIDTH and COLUMNS: the numbers of the texts that stay; a text leaves if the sum of its
#: exp(logit - highest) is at most this.
NUMBERS, SURE_BELOW = range(21, 23)

#: POOL: KIND has the first of these in its lowest POOL_BITS, the next one above them, and so on, POOLS in all. Each
#: makes COLUMNS of the WIDTH columns of a row, from rows of SOURCE that have SOURCE_WIDTH.
POOL_CLS, POOL_LAST, POOL_MAX, POOL_MEAN, POOL_WEIGHTED_MEAN, POOL_MEAN_SQRT_LENGTH = range(6)
POOL_BITS = 4
POOLS, SOURCE_WIDTH = range(15, 17)
#: MIX: what rows of SOURCE are multiplied by, and whether OUT has something already that they are added to.
MIX_WEIGHT, MIX_ADDS = range(14, 16)

#: OUTPUT: the first COLUMNS columns of SOURCE go to the caller's rows, at the job's entry PLACE.
COLUMNS, PLACE = range(14, 16)

#: Activations, in ACTIVATION.
ACTIVATIONS = {"none": 0, "gelu": 1, "gelu_codes": 2, "gelu_tanh": 3, "relu": 4, "tanh": 5, "silu": 6}

#: Entries of a job.
(
    JOB_IDS,
    JOB_TYPES,
    JOB_STARTS,
    JOB_SPANS,
    JOB_SPAN_COUNT,
    JOB_OUT,
    JOB_TOKEN_OUT,
    JOB_SECOND_TOKEN_OUT,
    JOB_WANTED,
    JOB_OUT_STARTS,
    JOB_ATTENDED,
    JOB_THREADS,
    JOB_TEAM,
    JOB_ARENA,
    JOB_SCRATCH,
    JOB_SHARED_SUMS,
    JOB_TABLE,
    JOB_STEPS,
    JOB_TICKETS,
    JOB_THREAD,
    JOB_BARRIER,
    JOB_MOST_WIDTH,
    JOB_WAKE,
    JOB_ENTRY,
    JOB_THREAD_NAME,
    JOB_KIND,
    JOB_CALLS,
    JOB_SLEEPS,
    JOB_SYSTEM,
) = range(29)
#: Jobs lie one behind another, each on cache lines of its own.
JOB_FIELDS = 32
#: The first entries are what changes from call to call.
JOB_CALL_FIELDS = JOB_ARENA
#: What the entry point is to do with a job, in JOB_KIND: run it, and have the JOB_WAKE jobs behind it run by their
#: helpers; start its helper, at the address JOB_ENTRY; end it. HELPED says that it has one. READ_TEXTS makes tokens of
#: texts: JOB_TABLE is then a request of `minibert.kernels.tokens.entries`.
RUN, START, STOP, HELPED, READ_TEXTS = range(5)

#: What a system gives kernels, which import nothing: JOB_SYSTEM is the address of addresses of functions, and so is the
#: entry behind the barrier's counter; 0 if there are none. NAP sleeps for NAP_LENGTH in a unit of its own. The others
#: are Linux's, all or none: system calls, the number of its `futex`, and what makes threads.
NAP, NAP_LENGTH, SYSTEM_CALL, FUTEX, THREAD_CREATE, THREAD_JOIN, THREAD_MASK = range(7)

#: Rows that threads share out by columns, for one alone has too few of them.
FEW_ROWS = 48
#: How rows of codes are scaled: the float32 scales of rows that go through an epilogue together, and behind them their
#: int32 zero points, the code offset of the kernels added; SCALE_BYTES in all for each row.
SCALE_BYTES = 8
#: Columns added to a row of sums: rows a power of two apart would fall into the same few sets of the cache.
SUMS_PADDING = 16
