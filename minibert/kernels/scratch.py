"""Where things lie in the scratch memory of an attention head: kernels work in it, and the engine provides it."""

from __future__ import annotations

from minibert import numerics

#: Bytes of 16 lanes.
ROW = 64
#: A block of keys and 16 queries, in bytes from the start: what goes from block to block, ...
TOTAL, LARGEST, CORRECTION, QUERY_SCALE, OFFSET = range(0, 5 * ROW, ROW)
#: ... a row of scores for each key, up to 16 keys more than a block has; weights as the next product wants them.
SCORES = 5 * ROW
WEIGHTS = SCORES + (numerics.KEY_BLOCK + 16) * ROW
SOFTMAX_BYTES = WEIGHTS + numerics.KEY_BLOCK * ROW
#: Keys are counted in these: as many as a tile takes of a row at once, and no operand ends within 64 bytes of its own.
KEYS = 64
# Behind the softmax's, in units of `width` rows: transposed rows, query panel, sums, context, the values' scales.
_UNITS = 5


def attention_scratch(tokens: int, width: int) -> int:
    """Bytes that a head of `width` columns needs for texts of up to `tokens` tokens."""
    keys = -(-tokens // KEYS) * KEYS
    # ... and last scales of the keys, codes of the keys (1 byte, in whole tiles) and of the values (2 bytes).
    return SOFTMAX_BYTES + _UNITS * width * ROW + keys * (4 + -(-width // 64) * 64 + 2 * width) + KEYS
