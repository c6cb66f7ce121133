"""Weights of the NumPy engine: unpacked once, within bounds, by threads and forks; and what makes their sums exact."""

from __future__ import annotations

import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from minibert.format.constants import MAX_WIDTH
from minibert.reference import Reference, linear
from minibert.reference.functions import lane_sum
from minibert.reference.linear import Weights, adds_up_exactly, integer_product, rounded_product
from tests.forked import forked
from tests.models import RandomModel, random_model

LENGTHS = [1, 17, 5, 70]
KINDS = ["int8", "int4", "codebook", "float32"]


def wide(kind: str = "int8", layers: int = 3) -> RandomModel:
    """A model whose matrices weigh more than all else."""
    return random_model(kind, hidden_size=256, heads=8, head_size=32, ffn_size=1024, layers=layers, max_positions=80)


def size_of(model: RandomModel) -> int:
    each = 4 if "float32" in {one.kind for one in model.config.linears.values()} else 1
    return sum(each * one.in_features * -(-one.out_features // 16) * 16 for one in model.config.linears.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.0, 0.4, 0.9, 1.0])
def test_what_stays_is_within_bounds_and_changes_no_bit(kind, part):
    model = wide(kind)
    texts = model.texts(LENGTHS)
    expected = Reference(model.config, model.tensors).forward(*texts)
    bound = int(part * size_of(model))
    largest = max(one.in_features * one.out_features for one in model.config.linears.values())
    assert bound in (0, size_of(model)) or bound > largest
    reference = Reference(model.config, model.tensors, kept_bytes=bound)
    tracemalloc.start()
    try:
        first, second = reference.forward(*texts), reference.forward(*texts)
        stays = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert first.tobytes() == second.tobytes() == expected.tobytes()
    slack = 300_000  # objects, and what modules make once
    assert stays <= bound + slack
    assert stays >= bound - largest * (4 if kind == "float32" else 1)


def test_a_model_larger_than_the_bound_works_in_bounded_memory():
    """What a pass takes beyond what stays is one matrix and its rows, however many layers there are."""
    peaks = []
    for layers in (2, 12):
        model = wide(layers=layers)
        texts = model.texts([5])
        Reference(model.config, model.tensors).forward(*texts)  # tables that are made once
        reference = Reference(model.config, model.tensors, kept_bytes=size_of(model) // layers)
        tracemalloc.start()
        try:
            reference.forward(*texts)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000


def test_matrices_that_are_one_in_the_file_are_one_in_memory():
    model = random_model("int8", layers=3)
    tensors = dict(model.tensors)
    for part in ("weight", "weight_sum", "scale", "bias"):
        tensors[f"layers.2.ffn.up.{part}"] = tensors[f"layers.0.ffn.up.{part}"]
    made = Weights(model.config.linears, tensors)
    assert made["layers.2.ffn.up"].weight is made["layers.0.ffn.up"].weight
    assert made["layers.1.ffn.up"].weight is not made["layers.0.ffn.up"].weight
    one = made["layers.0.ffn.up"].weight.nbytes
    # Shared ones are paid for once: a bound of one matrix keeps both names.
    linears = {name: model.config.linears[name] for name in ("layers.0.ffn.up", "layers.2.ffn.up", "layers.1.ffn.up")}
    made = Weights(linears, tensors, one)
    assert made["layers.2.ffn.up"].weight is made["layers.0.ffn.up"].weight
    assert made["layers.1.ffn.up"].weight is not made["layers.1.ffn.up"].weight


def test_the_same_codes_in_other_groups_are_another_matrix():
    model = random_model("int4", layers=1, hidden_size=96, ffn_size=96)
    name = "layers.0.ffn.up"
    other = replace(model.config.linears[name], group_size=36)
    assert other.groups == model.config.linears[name].groups
    tensors = dict(model.tensors)
    for part in ("codes", "multiplier"):
        tensors[f"b.{part}"] = tensors[f"{name}.{part}"]
    made = Weights({name: model.config.linears[name], "b": other}, tensors)
    assert made[name].weight is not made["b"].weight


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_begin_at_once(kind):
    """Each finds nothing unpacked, all answer alike, and what stays is what one thread alone would have kept."""
    model = wide(kind, layers=2)
    texts = model.texts(LENGTHS)
    expected = Reference(model.config, model.tensors).forward(*texts)
    engine = model.engine(backend="numpy")
    everyone = threading.Barrier(4)

    def answer(_number: int) -> bytes:
        everyone.wait(60)
        return engine.forward(*texts).tobytes()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, range(4)))
        answers += list(pool.map(answer, range(4)))
    assert set(answers) == {expected.tobytes()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
def test_a_fork_while_another_thread_unpacks(monkeypatch):
    """The child has what was finished, and makes the rest itself."""
    model = wide()
    texts = model.texts([9])
    expected = Reference(model.config, model.tensors).forward(*texts).tobytes()
    reference = Reference(model.config, model.tensors)
    begun, go_on, unpack = threading.Event(), threading.Event(), linear.int8_weight

    def slow(name, *rest):
        if name == "layers.1.ffn.up":
            begun.set()
            assert go_on.wait(60)
        return unpack(name, *rest)

    monkeypatch.setattr(linear, "int8_weight", slow)
    thread = threading.Thread(target=reference.forward, args=texts)
    thread.start()
    try:
        assert begun.wait(60)
        monkeypatch.setattr(linear, "int8_weight", unpack)
        assert forked(lambda: str(reference.forward(*texts).tobytes() == expected)) == "True"
    finally:
        go_on.set()
        thread.join()
    assert reference.forward(*texts).tobytes() == expected


# Sums.


def whole_numbers(rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes and weights as large as can be, and of all sizes between."""
    random = np.random.default_rng(seed)
    codes = random.integers(-255, 256, (rows, inputs)).astype(np.float32)
    weight = random.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    codes[::3], weight[::3] = 255, -128
    return codes, weight


@pytest.mark.parametrize("inputs", [16, 512, 528, 1536, 4096])
@pytest.mark.parametrize("rows", [0, 1, 2, 15, 16, 17, 63, 64, 65, 200])
def test_sums_are_exact(rows, inputs):
    codes, weight = whole_numbers(rows, inputs, 112, rows)
    expected = codes.astype(np.int64) @ weight.T.astype(np.int64)
    product = integer_product(codes, weight)
    assert product.dtype == np.int32
    np.testing.assert_array_equal(product, expected)
    assert adds_up_exactly(weight) == (inputs < 515)
    np.testing.assert_array_equal(rounded_product(codes, weight, inputs < 515), expected.astype(np.float32))


def test_the_widest_sums_are_exact():
    codes, weight = np.full((3, MAX_WIDTH), 255, np.float32), np.full((16, MAX_WIDTH), -128, np.int8)
    codes[1] *= -1
    expected = codes.astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(integer_product(codes, weight), expected)
    np.testing.assert_array_equal(rounded_product(codes, weight, False), expected.astype(np.float32))


@pytest.mark.parametrize("rows", [1, 16, 17, 64])
def test_small_weights_add_up_exactly_over_many_inputs(rows):
    """Magnitudes whose sum is as large as it may be: the largest sum of products is 2**24 - 1."""
    random = np.random.default_rng(0)
    weight = random.permuted(np.tile(np.arange(-127, 128, dtype=np.int8), (16, 16)), axis=1)[:, :1040]
    weight = np.concatenate([weight, np.zeros((16, 16), np.int8)], axis=1)
    for row in weight:
        missing = 65793 - int(np.abs(row.astype(int)).sum())
        place = 0
        while missing:  # one weight after another grows or shrinks until the sum is that
            magnitude = int(np.clip(abs(int(row[place])) + missing, 0, 127))
            missing -= magnitude - abs(int(row[place]))
            row[place] = magnitude if row[place] >= 0 else -magnitude
            place += 1
    assert (np.abs(weight.astype(int)).sum(axis=1) * linear.LARGEST_CODE == linear.EXACT - 1).all()
    assert adds_up_exactly(weight)
    more = weight.copy()
    more[7, -1] = 1
    assert not adds_up_exactly(more)
    codes = np.where(weight[:rows] >= 0, 255, -255) if rows <= 16 else random.choice([-255, 255], (rows, 1056))
    codes = np.asarray(codes, np.float32)
    expected = codes.astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(rounded_product(codes, weight, True), expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("width", [16, 32, 48, 384])
@pytest.mark.parametrize("rows", [0, 1, 2, 16, 64, 129])
def test_lanes_add_up_one_after_another(rows, width, order):
    """However rows lie in memory, NumPy takes no order of its own, which would round otherwise."""
    random = np.random.default_rng(rows)
    x = np.asarray(random.standard_normal((rows, width)) * np.exp2(random.uniform(-9, 9, (rows, width))), np.float32)
    total = np.zeros((rows, 16), np.float32)
    for start in range(0, width, 16):
        total = total + x[:, start : start + 16]
    for half in (8, 4, 2, 1):
        total = total[:, :half] + total[:, half : 2 * half]
    assert lane_sum(np.asarray(x, order=order)).tobytes() == total[:, 0].tobytes()
    for row, expected in zip(x, total[:, 0], strict=True):
        assert lane_sum(row) == expected
