"""Tokens that are not attended to: they have queries, but no keys and values (query expansion of ColBERT)."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.engine.batch import pack, with_attended
from minibert.errors import InputError
from minibert.reference import Reference
from tests.models import RandomModel, random_model

LENGTHS = [1, 5, 32, 17, 40, 70, 33]
ATTENDED = [1, 3, 7, 16, 33, 66, 33]
OPTIONS = [{}, {"position_bias": True}, {"windows": (40,), "rotary_bases": (1e4, 1e4)}]


def model_of(kind: str, **options) -> RandomModel:
    return random_model(kind, pooling="none", head=[(24, "none", False)], normalize=True, max_positions=96, **options)


def batch(model: RandomModel) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, model.config.architecture.vocab_size, length).tolist() for length in LENGTHS]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_what_stands_behind_changes_nothing_before(kind, options):
    """The first tokens' rows are those of a text without the others."""
    model = model_of(kind, **options)
    ids, reference = batch(model), Reference(model.config, model.tensors)
    packed = with_attended(pack(ids, None, model.config.architecture), ATTENDED, model.config.architecture)
    rows = reference.forward_packed(packed.ids, packed.token_types, packed.starts, attended=packed.attended)[0]
    for text, count, start in zip(ids, ATTENDED, packed.starts, strict=False):
        np.testing.assert_allclose(rows[start : start + count], reference.forward([text[:count]]), atol=1e-6)
        # A last token that nothing attends to does not matter to the others; its own row is made all the same.
        if count < len(text):
            assert np.abs(rows[start + count] - reference.forward([text])[count]).max() > 1e-4


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_have_the_bits_of_the_reference(isa, threads, options):
    model = model_of("int8", **options)
    ids = batch(model)
    engine = model.engine(threads=threads)
    made = engine.forward(ids, attended=ATTENDED)
    np.testing.assert_array_equal(made, model.engine(backend="numpy").forward(ids, attended=ATTENDED))
    alone = [engine.forward([text], attended=[count]) for text, count in zip(ids, ATTENDED, strict=True)]
    np.testing.assert_array_equal(made, np.concatenate(alone))


def test_float32_kernels(isa):
    model = model_of("float32")
    ids = batch(model)
    expected = model.engine(backend="numpy").forward(ids, attended=ATTENDED)
    np.testing.assert_allclose(model.engine().forward(ids, attended=ATTENDED), expected, atol=1e-5)


def test_numbers_that_make_no_sense():
    model = model_of("int8", windows=(4,))
    engine = model.engine(backend="numpy")
    for attended in ([0], [3], [1, 1], []):
        with pytest.raises(InputError, match="attended must have a number"):
            engine.forward([[1, 2]], attended=attended)
    with pytest.raises(InputError, match="more than 4 behind"):
        engine.forward([[1] * 6], attended=[1])
    with pytest.raises(InputError, match="without pooling"):
        random_model(pooling="cls").engine(backend="numpy").forward([[1]], attended=[1])
