"""Where things lie in scratch memory: kernels work in it, and the engine provides it."""

from __future__ import annotations

from minibert import numerics
from minibert.format.constants import ALIGNMENT

#: Bytes of 16 lanes.
ROW = 64
#: Attention, of a head. A block of keys and 16 queries, in bytes from the start: what goes from block to block, ...
TOTAL, LARGEST, CORRECTION, QUERY_SCALE, OFFSET = range(0, 5 * ROW, ROW)
#: ... a row of scores for each key, up to 16 keys more than a block has; weights as the next product wants them.
SCORES = 5 * ROW
WEIGHTS = SCORES + (numerics.KEY_BLOCK + 16) * ROW
SOFTMAX_BYTES = WEIGHTS + numerics.KEY_BLOCK * ROW
#: Keys are counted in these: as many as a tile takes of a row at once, and no operand ends within 64 bytes of its own.
KEYS = 64
#: Bytes of a code of values at most: three planes, or int16.
VALUE_BYTES = 3
#: Scores by distance (relative_attention), in bytes from where these begin: a factor for each row, the number 1 in
#: each of four bytes, sums of 16 rows, 16 x 16 scores, two panels' scores of 16 queries ...
POSITION_FACTORS, POSITION_ONES, POSITION_SUMS, POSITION_SQUARE = 0, ROW, 2 * ROW, 18 * ROW
POSITION_QUERIES = POSITION_SQUARE + 16 * ROW
#: ... which lie so far apart; then codes of 16 queries, two panels' scores of all keys, and the panels.
POSITION_PITCH = 2 * ROW
POSITION_REST = POSITION_QUERIES + 16 * POSITION_PITCH
# Behind the softmax's, in units of `width` rows: transposed rows, query panel, sums, context, the values' scales.
_UNITS = 5


def attention_scratch(tokens: int, width: int) -> int:
    """Bytes that a head of `width` columns needs for texts of up to `tokens` tokens."""
    keys = -(-tokens // KEYS) * KEYS
    # ... and last scales of the keys, codes of the keys (1 byte, in whole tiles) and of the values.
    return SOFTMAX_BYTES + _UNITS * width * ROW + keys * (4 + -(-width // 64) * 64 + VALUE_BYTES * width) + KEYS


def position_scratch(tokens: int, width: int, exact: bool) -> int:
    """Bytes that scores by distance need besides, by float32 products (`exact`) or by those of codes."""
    blocks = -(-tokens // 16)
    panel = (width if exact else width // 4) * ROW + 2 * ROW  # with its rows' scales, and what codes' offsets add
    return POSITION_REST + 16 * width + blocks * 16 * POSITION_PITCH + 4 * blocks * panel


def panel_scratch(inner):
    """Bytes of the panels that a matmul of `inner` inputs lays out at once; the rows that it lays out lie behind them.

    That is three panels of int8, or one of int16 with the int8 that it is made of, or one of groups (9 bytes where int8
    has 8, and one group begun), or the 4x4 blocks of one panel with what their first and last runs share with
    neighbours.
    """
    return 48 * inner + 1024


def matmul_scratch(rows: int, inner: int) -> int:
    """Bytes for `rows` rows of a matmul of integers: panels, and rows as int16 or as panels of tokens."""
    return panel_scratch(inner) + rows * (2 * inner + ALIGNMENT)
