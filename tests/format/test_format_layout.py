from __future__ import annotations

import numpy as np
import pytest

from minibert.format import (
    pack_blocks,
    pack_float32,
    pack_int8,
    pack_nibbles,
    unpack_blocks,
    unpack_float32,
    unpack_int8,
    unpack_nibbles,
)
from minibert.format.blocks import block_sums

SIZES = [(1, 4), (16, 16), (17, 20), (40, 48), (33, 4), (48, 64)]


@pytest.mark.parametrize(("out_features", "in_features"), SIZES)
def test_int8_matrix_lies_in_panels_of_16_outputs_and_groups_of_4_inputs(out_features, in_features):
    weight = np.random.default_rng(1).integers(-127, 128, (out_features, in_features), dtype=np.int8)
    packed = pack_int8(weight)
    assert packed.shape == (-(-out_features // 16), in_features // 4, 16, 4)
    assert packed.dtype == np.int8
    assert packed.flags.c_contiguous
    for n in range(packed.shape[0] * 16):
        for k in range(in_features):
            expected = weight[n, k] if n < out_features else 0
            assert packed[n // 16, k // 4, n % 16, k % 4] == expected
    np.testing.assert_array_equal(unpack_int8(packed, out_features), weight)
    assert unpack_int8(packed).shape == (packed.shape[0] * 16, in_features)


@pytest.mark.parametrize(("out_features", "in_features"), [*SIZES, (5, 3)])
def test_float32_matrix_lies_in_panels_of_16_outputs(out_features, in_features):
    weight = np.random.default_rng(2).standard_normal((out_features, in_features), dtype=np.float32)
    packed = pack_float32(weight)
    assert packed.shape == (-(-out_features // 16), in_features, 16)
    assert packed.dtype == np.float32
    assert packed.flags.c_contiguous
    for n in range(packed.shape[0] * 16):
        expected = weight[n] if n < out_features else np.zeros(in_features, np.float32)
        np.testing.assert_array_equal(packed[n // 16, :, n % 16], expected)
    np.testing.assert_array_equal(unpack_float32(packed, out_features), weight)


def sparse_matrix(out_features, in_features, density, seed=3) -> np.ndarray:
    """Each 4x4 block is zero or not by chance; those that are not hold zeros too."""
    random = np.random.default_rng(seed)
    mask = random.random((-(-out_features // 4), in_features // 4)) < density
    weight = random.integers(-127, 128, (out_features, in_features), dtype=np.int8)
    weight *= random.random(weight.shape) < 0.5
    return weight * np.kron(mask, np.ones((4, 4), np.int8))[:out_features]


def blocks_one_by_one(weight):
    """What `pack_blocks` returns, found by looking at each block."""
    rows = -(-weight.shape[0] // 16) * 16
    whole = np.zeros((rows, weight.shape[1]), np.int8)
    whole[: weight.shape[0]] = weight
    blocks, index, starts = [], [], [0]
    for row in range(0, rows, 4):
        for column in range(0, weight.shape[1], 4):
            block = whole[row : row + 4, column : column + 4]
            if (block != 0).any():
                blocks.append(block)
                index.append(column // 4)
        starts.append(len(blocks))
    return np.array(blocks, np.int8).reshape(-1, 4, 4), index, starts


@pytest.mark.parametrize("density", [0, 0.02, 0.2, 0.7, 1])
@pytest.mark.parametrize(("out_features", "in_features"), [*SIZES, (5, 4), (18, 256), (63, 32), (1, 1024)])
def test_only_blocks_with_weights_are_kept(out_features, in_features, density):
    weight = sparse_matrix(out_features, in_features, density)
    blocks, index, starts = pack_blocks(weight)
    assert (blocks.dtype, index.dtype, starts.dtype) == (np.int8, np.uint16, np.int32)
    assert blocks.flags.c_contiguous
    expected = blocks_one_by_one(weight)
    for part, wanted in zip((blocks, index, starts), expected, strict=True):
        np.testing.assert_array_equal(part, wanted)
    np.testing.assert_array_equal(unpack_blocks(blocks, index, starts, in_features, out_features), weight)
    whole = unpack_blocks(blocks, index, starts, in_features)
    assert whole.shape == (-(-out_features // 16) * 16, in_features)
    assert whole.flags.c_contiguous
    assert not whole[out_features:].any()
    np.testing.assert_array_equal(block_sums(blocks, starts), whole.sum(axis=1, dtype=np.int32))


def test_groups_of_outputs_may_be_empty():
    weight = np.zeros((24, 16), np.int8)
    weight[9, 6] = -127
    weight[23, 15] = 1
    blocks, index, starts = pack_blocks(weight)
    np.testing.assert_array_equal(starts, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(index, [1, 3])
    assert blocks[0, 1, 2] == -127
    np.testing.assert_array_equal(unpack_blocks(blocks, index, starts, 16, 24), weight)


def test_a_matrix_as_wide_as_an_index_reaches():
    weight = np.zeros((4, 4 * 65535), np.int8)
    weight[2, -1] = 5
    blocks, index, starts = pack_blocks(weight)
    np.testing.assert_array_equal(index, [65534])
    np.testing.assert_array_equal(unpack_blocks(blocks, index, starts, weight.shape[1], 4), weight)


def test_packing_takes_views_of_any_strides():
    weight = np.arange(-64, 64, dtype=np.int8).reshape(8, 16)
    np.testing.assert_array_equal(unpack_int8(pack_int8(weight.T), 16), weight.T)
    np.testing.assert_array_equal(unpack_blocks(*pack_blocks(weight.T), 8, 16), weight.T)
    np.testing.assert_array_equal(unpack_float32(pack_float32(weight.T.astype(np.float32)), 16), weight.T)


@pytest.mark.parametrize(
    ("pack", "weight"),
    [
        (pack_int8, np.zeros((16, 6), np.int8)),
        (pack_int8, np.zeros((16, 8), np.int16)),
        (pack_int8, np.zeros(16, np.int8)),
        (pack_blocks, np.zeros((16, 6), np.int8)),
        (pack_blocks, np.zeros((16, 8), np.int16)),
        (pack_blocks, np.zeros(16, np.int8)),
        (pack_blocks, np.broadcast_to(np.int8(0), (4, 4 * 65536))),
        (pack_float32, np.zeros((16, 8), np.float64)),
        (pack_float32, np.zeros((2, 16, 8), np.float32)),
    ],
)
def test_packing_refuses_what_has_no_layout(pack, weight):
    with pytest.raises(ValueError, match="matrix"):
        pack(weight)


def test_4_bit_codes_lie_8_columns_apart_in_a_byte():
    codes = np.random.default_rng(1).integers(-8, 8, (5, 48), dtype=np.int8)
    packed = pack_nibbles(codes)
    assert packed.shape == (5, 24)
    assert packed.dtype == np.uint8
    assert packed.flags.c_contiguous
    for row in range(5):
        for column in range(48):
            byte = int(packed[row, column // 16 * 8 + column % 8])
            assert byte >> (column % 16 // 8 * 4) & 15 == int(codes[row, column]) & 15
    np.testing.assert_array_equal(unpack_nibbles(packed), codes)


@pytest.mark.parametrize(
    "codes",
    [np.zeros((2, 24), np.int8), np.zeros((2, 16), np.int32), np.full((1, 16), 8, np.int8), np.zeros(16, np.int8)],
)
def test_codes_that_do_not_fit_4_bits(codes):
    with pytest.raises(ValueError, match=r"4-bit codes|int8 matrix"):
        pack_nibbles(codes)
