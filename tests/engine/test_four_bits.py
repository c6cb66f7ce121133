"""Four-bit matrices answer as the int8 matrices that they stand for, bit for bit, and are never held as such."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.format import expand_blocks, pack_codebook, pack_int4, pack_int4_blocks, pack_int8, unpack_int8
from minibert.format.constants import padded
from minibert.format.four_bit import expand_four_bit, weight_sums
from minibert.format.parts import Linear
from minibert.reference import Reference
from minibert.reference.linear import int8_weight
from tests.engine.zoo import SHAPES
from tests.models import RandomModel, random_model

LENGTHS = [1, 17, 5, 33, 2, 48]


def as_int8(model: RandomModel) -> RandomModel:
    """The model with its matrices written out, by the definition."""
    linears, tensors = dict(model.config.linears), dict(model.tensors)
    for name, linear in linears.items():
        if linear.kind == "int4-4x4":
            rows = _blocks_written_out(tensors, name, linear)
            linears[name] = replace(linear, kind="int8", blocks=0)
            tensors[f"{name}.weight"] = pack_int8(rows)
            continue
        codes = tensors[f"{name}.codes"]
        rows = np.zeros((16 * len(codes), linear.in_features), np.int8)
        for n in range(len(rows)):
            for k in range(linear.in_features):
                code = int(codes[n // 16, k // 4, n % 16, k % 4 // 2] >> 4 * (k % 2)) & 15
                if linear.kind == "codebook":
                    rows[n, k] = tensors[f"{name}.codebook"][n // 16, code]
                else:
                    multiplier = int(tensors[f"{name}.multiplier"][n // 16, k // linear.group_size, n % 16])
                    rows[n, k] = (code - 16 * (code > 7)) * multiplier
        linears[name] = replace(linear, kind="int8", group_size=0, weight_sum=False)
        tensors[f"{name}.weight"] = pack_int8(rows)
        tensors[f"{name}.weight_sum"] = rows.sum(axis=1, dtype=np.int32)
    return RandomModel(replace(model.config, linears=linears), tensors)


def _blocks_written_out(tensors: dict[str, np.ndarray], name: str, linear: Linear) -> np.ndarray:
    """By the definition, block by block."""
    codes, multiplier, index, starts = (
        tensors[f"{name}.{part}"].tolist() for part in ("codes", "multiplier", "index", "starts")
    )
    rows = np.zeros((4 * (len(starts) - 1), linear.in_features), np.int8)
    for group in range(len(starts) - 1):
        for b in range(starts[group], starts[group + 1]):
            for i in range(4):
                for j in range(4):
                    code = codes[b][i][j // 2] >> 4 * (j % 2) & 15
                    rows[4 * group + i, 4 * index[b] + j] = (code - 16 * (code > 7)) * multiplier[b // 8][i]
    np.testing.assert_array_equal(tensors[f"{name}.weight_sum"], rows.sum(axis=1))
    return rows


@pytest.mark.parametrize("kind", ["int4", "int4-4x4", "codebook"])
@pytest.mark.parametrize("shape", ["plain", "factors", "head with norm", "rotary"])
def test_same_bits_as_int8(isa, kind, shape):
    model = random_model(kind, **SHAPES[shape])
    wanted = as_int8(model)
    assert all(wanted.tensors[f"{name}.weight"].any() for name in wanted.config.linears)
    texts = model.texts(LENGTHS)
    answers = wanted.engine().forward(*texts)
    assert np.isfinite(answers).all()
    assert model.engine().forward(*texts).tobytes() == answers.tobytes()
    assert model.engine(backend="numpy").forward(*texts).tobytes() == answers.tobytes()
    assert Reference(model.config, model.tensors).forward(*texts).tobytes() == answers.tobytes()


@pytest.mark.parametrize(("outputs", "inputs", "group"), [(16, 16, 32), (40, 96, 32), (33, 48, 20), (7, 64, 4)])
def test_packing_and_expanding(outputs, inputs, group):
    random = np.random.default_rng(outputs)
    linear = Linear("int4", inputs, outputs, group_size=group)
    codes = random.integers(-7, 8, (outputs, inputs)).astype(np.int8)
    multiplier = random.integers(1, 19, (outputs, linear.groups)).astype(np.uint8)
    tensors = dict(zip(("w.codes", "w.multiplier"), pack_int4(codes, multiplier), strict=True))
    expected = codes * multiplier.astype(int).repeat(group, axis=1)[:, :inputs]
    np.testing.assert_array_equal(unpack_int8(expand_four_bit("w", linear, tensors), outputs), expected)
    assert not int8_weight("w", linear, tensors)[outputs:].any()

    linear = Linear("codebook", inputs, outputs)
    places = random.integers(0, 16, (outputs, inputs)).astype(np.uint8)
    values = random.permuted(np.tile(np.arange(-127, 128, dtype=np.int8), (padded(outputs) // 16, 1)), axis=1)[:, :16]
    tensors = {"w.codes": pack_codebook(places), "w.codebook": values}
    expected = values[np.arange(outputs)[:, None] // 16, places]
    np.testing.assert_array_equal(unpack_int8(expand_four_bit("w", linear, tensors), outputs), expected)


@pytest.mark.parametrize("blocks", [0, 1, 7, 8, 9, 77])
def test_packing_and_expanding_blocks(blocks):
    random = np.random.default_rng(blocks)
    linear = Linear("int4-4x4", 64, 33, blocks=blocks)
    codes = random.integers(-7, 8, (blocks, 4, 4)).astype(np.int8)
    multiplier = random.integers(1, 19, (linear.runs, 4)).astype(np.uint8)
    tensors = {"w.codes": pack_int4_blocks(codes), "w.multiplier": multiplier}
    assert len(tensors["w.codes"]) == 8 * linear.runs
    expected = [codes[b] * multiplier[b // 8, :, None].astype(int) for b in range(blocks)]
    room = np.ones((8 * linear.runs, 4, 4), np.int8)
    for out in (None, room):
        np.testing.assert_array_equal(expand_blocks("w", linear, tensors, out), np.reshape(expected, (-1, 4, 4)))
    assert not room[blocks:].any()


def test_blocks_are_not_expanded_in_memory():
    model = random_model("int4-4x4", layers=3)
    assert {linear.kind for linear in model.config.linears.values()} == {"int4-4x4"}
    rest = as_int8(model).engine(threads=1).plan_memory(1).made
    assert model.engine(threads=1).plan_memory(1).made == rest


def test_nothing_is_expanded_in_memory():
    """Beside the file's tensors there are only the sums of matrices whose file has none, and one for what is one."""
    model = random_model("int4", layers=3)
    tensors, linears = dict(model.tensors), dict(model.config.linears)
    for part in ("codes", "multiplier"):
        for number in (1, 2):
            tensors[f"layers.{number}.attention.qkv.{part}"] = tensors[f"layers.0.attention.qkv.{part}"]
    # The same codes with multipliers of their own are another matrix.
    tensors["layers.2.attention.qkv.multiplier"] = tensors["layers.0.attention.qkv.multiplier"].copy()
    engine = RandomModel(replace(model.config, linears=linears), tensors).engine(threads=1)
    made = engine.plan_memory(1).made
    without = {name: linear for name, linear in linears.items() if not linear.weight_sum}
    assert 0 < len(without) < len(linears)
    sums = sum(4 * padded(linear.out_features) for linear in without.values())
    once = 4 * padded(linears["layers.1.attention.qkv"].out_features)
    rest = as_int8(model).engine(threads=1).plan_memory(1).made
    assert made - rest == sums - once
    for name, linear in without.items():
        expected = unpack_int8(expand_four_bit(name, linear, tensors)).sum(axis=1)
        np.testing.assert_array_equal(weight_sums(name, linear, tensors), expected)
