"""Models of 4x4 block-sparse matrices: the bits of NumPy, at every number of blocks left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.format.layout import pack_blocks, unpack_int8
from tests.models import RandomModel, random_model


def sparse_model(density: float) -> RandomModel:
    """A random int8 model of which this share of blocks is left in every matrix."""
    model = random_model(hidden_size=96, head_size=48, heads=2, ffn_size=272, pooling="mean", max_positions=200)
    random = np.random.default_rng(5)
    tensors, linears = dict(model.tensors), {}
    for name, linear in model.config.linears.items():
        weight = unpack_int8(tensors.pop(f"{name}.weight"))
        rows, columns = weight.shape
        kept = random.random((rows // 4, columns // 4)) < density
        weight = weight * np.kron(kept, np.ones((4, 4), np.int8))
        parts = dict(zip(("blocks", "index", "starts"), pack_blocks(weight), strict=True))
        tensors |= {f"{name}.{part}": array for part, array in parts.items()}
        tensors[f"{name}.weight_sum"] = weight.sum(axis=1, dtype=np.int32)
        linears[name] = replace(linear, kind="int8-4x4", blocks=len(parts["index"]))
    return RandomModel(replace(model.config, linears=linears), tensors)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.7, 1.0])
def test_block_sparse_models_have_the_bits_of_numpy(isa, monkeypatch, density):
    monkeypatch.setenv("MINIBERT_SPARSE", "always")
    model = sparse_model(density)
    texts = model.texts([1, 3, 16, 40, 130, 2])
    for threads in (1, 2):
        answers = model.engine(threads=threads).forward(*texts)
        np.testing.assert_array_equal(answers, model.reference().forward(*texts))
