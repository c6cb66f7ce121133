"""Linears with all that is fused into them, against their NumPy twins: bit for bit where the sums are integers."""

from __future__ import annotations

import numpy as np
import pytest

from minibert import plan
from minibert.format import pack_int8, unpack_float32
from minibert.format.constants import ACTIVATIONS, MAX_WIDTH
from minibert.reference import functions
from minibert.reference.linear import Weights, apply_int8
from tests.kernels.inputs import ROWS, rows
from tests.kernels.steps import Steps
from tests.models import RandomModel, random_model

#: Row counts around every height of a tile and every edge of a block of rows.
COUNTS = [*range(1, 71), 95, 96, 97, 127, 128, 129, 300, 512]


def token_head(outputs: int, inputs: int, kind: str, activation: str = "none") -> RandomModel:
    """A model that ends with one linear for each token."""
    head = [(outputs, activation, False)]
    return random_model(kind, hidden_size=inputs, heads=1, layers=1, pooling="none", head=head, max_positions=512)


#: Codes int32 [rows, width], scales float32 [rows] and zero points int32 [rows].
QuantizedRows = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_codes(count: int, width: int, seed: int = 0) -> QuantizedRows:
    """Rows of codes, some of them zeros."""
    random = np.random.default_rng(seed)
    codes = random.integers(-127, 128, (count, width), dtype=np.int32)
    scales = np.exp2(random.uniform(-20, 5, count)).astype(np.float32)
    zeros = random.integers(-127, 128, count, dtype=np.int32)
    codes[::9], scales[::9] = zeros[::9, None], 0
    return codes, scales, zeros


def dequantized(model: RandomModel, name: str, codes: QuantizedRows) -> np.ndarray:
    """What a linear makes of codes, in NumPy."""
    whole, scales, zeros = codes
    return apply_int8(whole - zeros[:, None], scales, name, Weights(model.config.linears, model.tensors))


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 2), (384, 77), (312, 1), (16, 16), (64, 65), (1200, 144)])
def test_int8_at_every_number_of_rows(kernels, inputs, outputs):
    model = token_head(outputs, inputs, "int8")
    for count in COUNTS if inputs < 100 else COUNTS[::5]:
        steps = Steps(model, kernels, [count])
        number = steps.find(plan.Matmul, linear="head.0")
        codes = random_codes(count, -(-inputs // 16) * 16, count)
        steps.set_source_codes(number, *codes)
        steps.run(number)
        np.testing.assert_array_equal(steps.out(number), dequantized(model, "head.0", codes))


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 2), (384, 77), (312, 1), (16, 16), (64, 65), (1200, 144)])
def test_float32_at_every_number_of_rows(kernels, inputs, outputs):
    model = token_head(outputs, inputs, "float32")
    weight = unpack_float32(model.tensors["head.0.weight"]).astype(np.float64)
    for count in COUNTS if inputs < 100 else COUNTS[::5]:
        steps = Steps(model, kernels, [count])
        number = steps.find(plan.Matmul, linear="head.0")
        source = rows("random", count, weight.shape[1], count)
        steps.source(number)[:] = source
        steps.run(number)
        exact = source.astype(np.float64) @ weight.T + model.tensors["head.0.bias"]
        # A sum of n rounded products is off by n times the rounding of float32 at most, and by its root as a rule.
        terms = np.abs(source.astype(np.float64)) @ np.abs(weight).T + np.abs(model.tensors["head.0.bias"])
        assert (np.abs(steps.out(number) - exact) <= 6e-8 * (2 + np.sqrt(inputs)) * terms).all()


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_a_row_has_the_same_bits_at_every_place_in_a_block(kernels, kind):
    """Tiles of all heights add in one order."""
    model = token_head(77, 312, kind)
    bits = set()
    for count in [*range(1, 50), 96, 97, 200]:
        steps = Steps(model, kernels, [count])
        number = steps.find(plan.Matmul, linear="head.0")
        if kind == "int8":
            codes, scales, zeros = random_codes(2, 320)
            steps.set_source_codes(number, codes[1:], scales[1], zeros[1])
        else:
            steps.source(number)[:] = rows("random", 1, 320)
        steps.run(number)
        bits |= {row.tobytes() for row in steps.out(number)}
    assert len(bits) == 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weight", [127, -127, -128])
def test_the_widest_sums_are_exact(kernels, weight, sign):
    """MAX_WIDTH inputs, codes as far from zero and weights as large as can be: 2**31 is near, and not passed."""
    model = random_model(hidden_size=16, heads=1, layers=1, pooling="mean", ffn_size=MAX_WIDTH)
    name = "layers.0.ffn.down"
    model.tensors[f"{name}.weight"][:] = pack_int8(np.full((16, MAX_WIDTH), weight, np.int8))
    model.tensors[f"{name}.weight_sum"][:] = weight * MAX_WIDTH
    steps = Steps(model, kernels, [3])
    number = steps.find(plan.Matmul, linear=name)
    steps.set_source_codes(number, np.full((3, MAX_WIDTH), 127 * sign), np.float32(1e-6), -127 * sign)
    steps.residual(number)[:] = 0
    for part, value in (("weight", 1), ("bias", 0)):
        model.tensors[f"layers.0.ffn.norm.{part}"][:] = value
    model.tensors[f"{name}.bias"][:] = np.arange(16)
    steps.run(number)
    total = np.float32(np.int64(254 * sign) * weight * MAX_WIDTH)
    y = (total * np.float32(1e-6)) * model.tensors[f"{name}.scale"] + model.tensors[f"{name}.bias"]
    norm = [model.tensors[f"layers.0.ffn.norm.{part}"] for part in ("weight", "bias")]
    np.testing.assert_array_equal(steps.out(number)[1], functions.layer_norm(y[None], *norm, 16, 1e-12)[0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("case", [*ROWS, "grid"])
def test_activations(kernels, activation, case):
    """Through a matrix of zeros, so that the bias is what goes through the activation."""
    model = token_head(1600, 16, "int8", activation)
    x = np.linspace(-90, 90, 1600, dtype=np.float32) if case == "grid" else rows(case, 1, 1600)[0]
    model.tensors["head.0.bias"][:] = x
    steps = Steps(model, kernels, [2])
    number = steps.find(plan.Matmul, linear="head.0")
    steps.set_source_codes(number, np.zeros((2, 16)), np.float32(0), 0)
    steps.run(number)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = functions.activate(x, activation)
    np.testing.assert_array_equal(steps.out(number)[1], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_survive_numbers_that_are_not_finite(kernels, activation, value):
    model = token_head(16, 16, "int8", activation)
    model.tensors["head.0.bias"][:] = 1
    model.tensors["head.0.bias"][5] = value
    steps = Steps(model, kernels, [1])
    number = steps.find(plan.Matmul, linear="head.0")
    steps.set_source_codes(number, np.zeros((1, 16)), np.float32(0), 0)
    steps.run(number)
    made = np.delete(steps.out(number)[0], 5)
    np.testing.assert_array_equal(made, functions.activate(np.ones(15, np.float32), activation))


@pytest.mark.parametrize("following", ["int8", "float32", "int8 with factors"])
@pytest.mark.parametrize("hidden_size", [312, 40, 384, 1])
@pytest.mark.parametrize("case", ROWS)
def test_residual_norm_and_codes(kernels, case, hidden_size, following):
    """attention.output: a residual, LayerNorm with its padding, and what the next linear reads."""
    kind, _, factors = following.partition(" ")
    model = random_model(
        lambda name: kind if name.endswith("ffn.up") else "int8",
        hidden_size=hidden_size,
        heads=2,
        layers=1,
        pooling="mean",
        input_factor=bool(factors),
    )
    steps = Steps(model, kernels, [21])
    number = steps.find(plan.Matmul, linear="layers.0.attention.output")
    codes = random_codes(21, 32)
    width = steps.residual(number).shape[1]
    residual = rows(case, 21, width)
    residual[:, hidden_size:] = 0
    steps.set_source_codes(number, *codes)
    steps.residual(number)[:] = residual
    steps.run(number)

    norm = [model.tensors[f"layers.0.attention.norm.{part}"] for part in ("weight", "bias")]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = dequantized(model, "layers.0.attention.output", codes) + residual
        expected = functions.layer_norm(expected, *norm, hidden_size, 1e-12)
    np.testing.assert_array_equal(steps.out(number), expected)
    assert not expected[:, hidden_size:].any()
    if kind == "int8":
        made = steps.codes(number)
        with np.errstate(over="ignore", invalid="ignore"):
            codes = functions.quantize(expected, model.tensors.get("layers.0.ffn.up.input_factor"))
        finite = np.isfinite(expected).all(axis=1)
        for own, twin in zip(made, codes, strict=True):
            np.testing.assert_array_equal(own[finite], twin[finite])


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize("ffn_size", [52, 1200])
def test_activation_straight_to_codes(kernels, activation, ffn_size):
    """ffn.up keeps no float32 rows: they end as the codes of ffn.down."""
    model = random_model(ffn_size=ffn_size, activation=activation, layers=1, pooling="mean", input_factor=True)
    steps = Steps(model, kernels, [50])
    number = steps.find(plan.Matmul, linear="layers.0.ffn.up")
    assert steps.plan.steps[number].out is None
    codes = random_codes(50, 48)
    steps.set_source_codes(number, *codes)
    steps.run(number)
    expected = dequantized(model, "layers.0.ffn.up", codes)
    expected = functions.activate(expected, steps.plan.steps[number].activation)
    codes = functions.quantize(expected, model.tensors["layers.0.ffn.down.input_factor"])
    for own, twin in zip(steps.codes(number), codes, strict=True):
        np.testing.assert_array_equal(own, twin)
