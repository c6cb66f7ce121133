from __future__ import annotations

import numpy as np
import pytest

from minibert.format import pack_float32, pack_int8, unpack_float32, unpack_int8

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


def test_packing_takes_views_of_any_strides():
    weight = np.arange(-64, 64, dtype=np.int8).reshape(8, 16)
    np.testing.assert_array_equal(unpack_int8(pack_int8(weight.T), 16), weight.T)
    np.testing.assert_array_equal(unpack_float32(pack_float32(weight.T.astype(np.float32)), 16), weight.T)


@pytest.mark.parametrize(
    ("pack", "weight"),
    [
        (pack_int8, np.zeros((16, 6), np.int8)),
        (pack_int8, np.zeros((16, 8), np.int16)),
        (pack_int8, np.zeros(16, np.int8)),
        (pack_float32, np.zeros((16, 8), np.float64)),
        (pack_float32, np.zeros((2, 16, 8), np.float32)),
    ],
)
def test_packing_refuses_what_has_no_layout(pack, weight):
    with pytest.raises(ValueError, match="matrix"):
        pack(weight)
