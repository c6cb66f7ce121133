"""Block-sparse linears: the same bits as dense ones with the same weights, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minibert.engine.executor import Executor
from minibert.engine.memory import aligned
from minibert.format import pack_blocks, pack_int8, unpack_int8
from minibert.plan import build_plan
from tests.models import RandomModel, random_model

LENGTHS = [1, 2, 7, 8, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65]


def twins(density: float, seed: int = 0, **shape: object) -> tuple[RandomModel, RandomModel]:
    """One pruned network twice: its matrices stored whole, and stored as blocks. Density 0 leaves nothing at all."""
    random = np.random.default_rng(seed)
    model = random_model("int8", seed=seed, max_positions=65, **shape)
    whole, blocks, linears = dict(model.tensors), dict(model.tensors), dict(model.config.linears)
    for name, linear in model.config.linears.items():
        weight = unpack_int8(model.tensors[f"{name}.weight"])
        kept = random.random((weight.shape[0] // 4, weight.shape[1] // 4)) < density
        kept[0] = False  # a group of outputs without any block
        weight = weight * np.kron(kept, np.ones((4, 4), np.int8))
        whole[f"{name}.weight"] = aligned(pack_int8(weight))
        whole[f"{name}.weight_sum"] = blocks[f"{name}.weight_sum"] = weight.sum(axis=1, dtype=np.int32)
        del blocks[f"{name}.weight"]
        parts = dict(zip(("blocks", "index", "starts"), map(aligned, pack_blocks(weight)), strict=True))
        blocks |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
        linears[name] = dataclasses.replace(linear, kind="int8-4x4", blocks=len(parts["index"]))
    config = dataclasses.replace(model.config, linears=linears)
    return RandomModel(model.config, whole), RandomModel(config, blocks)


def run(model: RandomModel, kernels, threads: int = 1, dense_tokens: range = range(0)) -> np.ndarray:
    """All texts in one batch through given kernels."""
    from minibert.engine.batch import pack

    executor = Executor(
        build_plan(model.config),
        model.config,
        model.tensors,
        kernels,
        threads,
        dense_tokens=lambda _density: dense_tokens,
    )
    return executor.run(pack(*model.texts(LENGTHS), model.config.architecture))[0]


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_blocks_and_whole_matrices_give_the_same_bits(kernels, density, pooling):
    dense, sparse = twins(density, pooling=pooling, head=[(77, "tanh", False)], input_factor=True)
    expected = dense.reference().forward(*dense.texts(LENGTHS))
    np.testing.assert_array_equal(sparse.reference().forward(*sparse.texts(LENGTHS)), expected)
    np.testing.assert_array_equal(run(dense, kernels), expected)
    np.testing.assert_array_equal(run(sparse, kernels), expected)


def test_wide_matrices(kernels):
    dense, sparse = twins(0.2, hidden_size=192, heads=3, head_size=64, ffn_size=768, layers=1, pooling="mean")
    expected = dense.reference().forward(*dense.texts(LENGTHS))
    for threads in (1, 2):
        np.testing.assert_array_equal(run(sparse, kernels, threads), expected)


def test_few_or_many_tokens_may_take_a_dense_copy(kernels):
    _, sparse = twins(0.6)
    expected = run(sparse, kernels)
    for numbers in (range(9), range(17, 1 << 30), range(1 << 30)):
        np.testing.assert_array_equal(run(sparse, kernels, dense_tokens=numbers), expected)


def test_each_text_alone(kernels):
    _, sparse = twins(0.3)
    together = run(sparse, kernels)
    ids, types = sparse.texts(LENGTHS)
    engine = sparse.engine(threads=2)
    for row, text, kinds in zip(together, ids, types, strict=True):
        np.testing.assert_array_equal(engine.forward([text], [kinds])[0], row)
