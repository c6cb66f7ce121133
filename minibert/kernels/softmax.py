"""The softmax of attention: 16 queries in the lanes, keys one below the other, a block of them at a time.

Maximum, exponential and sum are plain vector arithmetic without a single horizontal step. From block to block go a
running maximum and what was summed so far (online softmax, arXiv 1805.02867). Twin: minibert.reference.attention.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.functions import exp2, softmax_weight
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import (
    f32x16,
    i32x16,
    load_f32,
    load_f32x16,
    load_i32x16,
    maximum,
    round_to_i32,
    splat_f32,
    store_f32x16,
    to_f32,
)

_LOWEST = np.float32(numerics.LOWEST_SCORE)
_WEIGHT_BITS = np.float32(numerics.WEIGHT_BITS)
_ZERO = np.float32(0)

#: Bytes of 16 lanes.
ROW = 64
#: Scratch for a block of keys and 16 queries, in bytes from its start: what goes from block to block, ...
TOTAL, LARGEST, CORRECTION, QUERY_SCALE, OFFSET = range(0, 5 * ROW, ROW)
#: ... a row of scores for each key, up to 16 keys more than a block has; weights as the next product wants them.
SCORES = 5 * ROW
WEIGHTS = SCORES + (numerics.KEY_BLOCK + 16) * ROW
SOFTMAX_BYTES = WEIGHTS + numerics.KEY_BLOCK * ROW


@kernel(void, int64)
def softmax_start(scratch):
    """Before the first block of keys: no weight seen."""
    store_f32x16(scratch + TOTAL, splat_f32(_ZERO))
    store_f32x16(scratch + LARGEST, splat_f32(_LOWEST))


@kernel(void, int64, f32x16)
def raise_maximum(scratch, highest):
    """A new running maximum, and the factor that brings older sums to it."""
    largest = load_f32x16(scratch + LARGEST)
    store_f32x16(scratch + LARGEST, highest)
    store_f32x16(scratch + CORRECTION, exp2(largest - highest))


@kernel(void, int64, int64)
def score_maximum(scratch, keys):
    """The running maximum with this block's float32 scores."""
    highest = load_f32x16(scratch + LARGEST)
    for key in range(keys):
        highest = maximum(load_f32x16(scratch + SCORES + key * ROW), highest)
    raise_maximum(scratch, highest)


@kernel(f32x16, int64, int64, f32x16, i32x16)
def scaled(row, key_scale, query_scale, offset):
    """Integer scores of a key, in place, as float32 in units of powers of two."""
    score = (to_f32(load_i32x16(row) - offset) * splat_f32(load_f32(key_scale))) * query_scale
    store_f32x16(row, score)
    return score


@kernel(void, int64, int64, int64)
def scale_scores(scratch, keys, key_scale):
    """Integer scores of a block become float32; and the running maximum."""
    query_scale, offset = load_f32x16(scratch + QUERY_SCALE), load_i32x16(scratch + OFFSET)
    highest = load_f32x16(scratch + LARGEST)
    other = highest
    row = scratch + SCORES
    for key in range(0, keys - 1, 2):  # two maxima: each waits for its last
        highest = maximum(scaled(row + key * ROW, key_scale + 4 * key, query_scale, offset), highest)
        other = maximum(scaled(row + (key + 1) * ROW, key_scale + 4 * (key + 1), query_scale, offset), other)
    if keys & 1:
        highest = maximum(scaled(row + (keys - 1) * ROW, key_scale + 4 * (keys - 1), query_scale, offset), highest)
    raise_maximum(scratch, maximum(other, highest))


@kernel(void, int64, int64, int64)
def add_biases(scratch, keys, bias):
    """Float32 scores of a block + what is added by distance; `bias` is the address for the first query and key."""
    for key in range(keys):
        row = scratch + SCORES + key * ROW
        store_f32x16(row, load_f32x16(row) + load_f32x16(bias - 4 * key))


@kernel(void, int64, int64, int64, int64)
def scale_and_bias_scores(scratch, keys, key_scale, bias):
    """`scale_scores` with biases by distance added."""
    query_scale, offset = load_f32x16(scratch + QUERY_SCALE), load_i32x16(scratch + OFFSET)
    for key in range(keys):
        scaled(scratch + SCORES + key * ROW, key_scale + 4 * key, query_scale, offset)
    add_biases(scratch, keys, bias)
    score_maximum(scratch, keys)


@kernel(f32x16, int64)
def weight_shift(scratch):
    """What is added to scores: the highest of all becomes a weight of WEIGHT_BITS bits."""
    return splat_f32(_WEIGHT_BITS) - load_f32x16(scratch + LARGEST)


@kernel(i32x16, int64, f32x16)
def weight_of(row, shift):
    """Softmax weights of a key, integers; `shift` is `weight_shift`'s."""
    return round_to_i32(softmax_weight(load_f32x16(row) + shift))


@kernel(void, int64, i32x16)
def add_weights(scratch, total):
    """The sum of a block's integer weights goes to those of older ones."""
    older = load_f32x16(scratch + TOTAL) * load_f32x16(scratch + CORRECTION)
    store_f32x16(scratch + TOTAL, older + to_f32(total))


@kernel(void, int64, int64)
def softmax_float32(scratch, keys):
    """Weights of a block as float32, and their sum."""
    highest = load_f32x16(scratch + LARGEST)
    total = load_f32x16(scratch + TOTAL) * load_f32x16(scratch + CORRECTION)
    for key in range(keys):
        weight = exp2(load_f32x16(scratch + SCORES + key * ROW) - highest)
        total = total + weight
        store_f32x16(scratch + WEIGHTS + key * ROW, weight)
    store_f32x16(scratch + TOTAL, total)
