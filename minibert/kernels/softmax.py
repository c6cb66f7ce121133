"""The softmax of attention: 16 queries in the lanes, keys one below the other, a block of them at a time.

Maximum, exponential and sum are plain vector arithmetic without a single horizontal step. From block to block go a
running maximum and what was summed so far (online softmax, arXiv 1805.02867). Integer attention's scores count
DISTANCE_STEPS to a power of two, and its weights are made of 16-bit distances to the maximum, two in a lane.
Twin: minibert.reference.attention.
"""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.kernels.functions import exp2, softmax_weights
from minibert.kernels.isa import current
from minibert.kernels.kernel import float32, int64, kernel, void
from minibert.kernels.scratch import CORRECTION, LARGEST, OFFSET, QUERY_SCALE, ROW, SCORES, TOTAL, WEIGHTS
from minibert.kernels.simd import (
    bits_of,
    f32x16,
    i32x16,
    larger,
    load_f32,
    load_f32x16,
    load_i32x16,
    low_int16,
    minimum,
    shift_left,
    shift_right,
    splat_f32,
    store_f32x16,
    to_f32,
)

#: Whether codes of keys are stored with an offset, for which scores have to be corrected.
_HAS_OFFSET = current().code_offset != 0
_LOWEST = np.float32(numerics.LOWEST_SCORE)
_NEVER = np.float32(-np.inf)
_STEPS, _INVERSE_STEPS = np.float32(numerics.DISTANCE_STEPS), np.float32(1.0 / numerics.DISTANCE_STEPS)
_FURTHEST = np.float32(numerics.DISTANCE_LIMIT)
#: Added to a float of small magnitude, leaves its nearest integer in the low 16 bits.
_MAGIC = np.float32(numerics.ROUND_MAGIC)
#: The same, and what makes up for the high 16 bits of _MAGIC, when it is added there.
_OTHER_MAGIC = np.float32(numerics.ROUND_MAGIC + (-int(_MAGIC.view(np.int32)) >> 16 & 0xFFFF))
_ZERO = np.float32(0)
_INT16_BITS = np.int32(16)


@kernel(void, int64)
def softmax_start(scratch):
    """Before the first block of keys: no weight seen."""
    store_f32x16(scratch + TOTAL, splat_f32(_ZERO))
    store_f32x16(scratch + LARGEST, splat_f32(_LOWEST))


@kernel(void, int64, f32x16, float32)
def raise_maximum(scratch, highest, unit):
    """A new running maximum, and the factor that brings older sums to it; `unit` is a score's in powers of two."""
    largest = load_f32x16(scratch + LARGEST)
    store_f32x16(scratch + LARGEST, highest)
    store_f32x16(scratch + CORRECTION, exp2((largest - highest) * splat_f32(unit)))


@kernel(void, int64, int64, float32)
def score_maximum(scratch, keys, unit):
    """The running maximum with this block's float32 scores."""
    highest = load_f32x16(scratch + LARGEST)
    for key in range(keys):
        highest = larger(load_f32x16(scratch + SCORES + key * ROW), highest)
    raise_maximum(scratch, highest, unit)


@kernel(f32x16, int64, int64, f32x16, i32x16)
def scaled(row, key_scale, query_scale, offset):
    """Integer scores of a key, in place, as float32."""
    exact = load_i32x16(row)
    if _HAS_OFFSET:
        exact = exact - offset
    score = (to_f32(exact) * splat_f32(load_f32(key_scale))) * query_scale
    store_f32x16(row, score)
    return score


@kernel(void, int64, int64, int64)
def scale_scores(scratch, keys, key_scale):
    """Integer scores of a block become float32; and the running maximum."""
    query_scale, offset = load_f32x16(scratch + QUERY_SCALE), load_i32x16(scratch + OFFSET)
    highest = load_f32x16(scratch + LARGEST)
    other = highest
    row = scratch + SCORES
    for key in range(0, keys - 1, 2):  # two chains of maxima hide their latency
        highest = larger(scaled(row + key * ROW, key_scale + 4 * key, query_scale, offset), highest)
        other = larger(scaled(row + (key + 1) * ROW, key_scale + 4 * (key + 1), query_scale, offset), other)
    if keys & 1:
        highest = larger(scaled(row + (keys - 1) * ROW, key_scale + 4 * (keys - 1), query_scale, offset), highest)
    raise_maximum(scratch, larger(other, highest), _INVERSE_STEPS)


@kernel(void, int64, int64, int64, float32)
def add_biases(scratch, keys, bias, steps):
    """Float32 scores of a block + `steps` times what is added by distance, at `bias` for the first query and key."""
    for key in range(keys):
        row = scratch + SCORES + key * ROW
        store_f32x16(row, load_f32x16(row) + load_f32x16(bias - 4 * key) * splat_f32(steps))


@kernel(void, int64, int64, int64, int64)
def scale_and_bias_scores(scratch, keys, key_scale, bias):
    """`scale_scores` with biases by distance added."""
    query_scale, offset = load_f32x16(scratch + QUERY_SCALE), load_i32x16(scratch + OFFSET)
    for key in range(keys):
        scaled(scratch + SCORES + key * ROW, key_scale + 4 * key, query_scale, offset)
    add_biases(scratch, keys, bias, _STEPS)
    score_maximum(scratch, keys, _INVERSE_STEPS)


@kernel(void, int64, int64)
def mask_absent(scratch, keys):
    """Scores of minus infinity behind a block's last key, up to a multiple of four keys: they get no weight."""
    for key in range(keys, (keys + 3) & -4):
        store_f32x16(scratch + SCORES + key * ROW, splat_f32(_NEVER))


@kernel(f32x16, int64, f32x16)
def distance_of(row, largest):
    """Distances of a key's scores to the largest."""
    return minimum(largest - load_f32x16(row), splat_f32(_FURTHEST))


@kernel(i32x16, int64, int64, f32x16)
def weights_of(low, high, largest):
    """Softmax weights of two keys, by the addresses of their scores, in the low and the high 16 bits."""
    below = bits_of(distance_of(low, largest) + splat_f32(_MAGIC))
    above = bits_of(distance_of(high, largest) + splat_f32(_OTHER_MAGIC))
    return softmax_weights(below + shift_left(above, _INT16_BITS))


@kernel(i32x16, i32x16)
def both_int16(weights):
    """Low int16 + high int16, neither of them negative."""
    return low_int16(weights) + shift_right(weights, _INT16_BITS)


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
