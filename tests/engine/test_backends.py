"""The compiled engine and the NumPy engine give the same answers, on every instruction set."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from minibert.engine.cpu import supported_isas
from minibert.plan import Codes, Embed, Matmul
from minibert.reference import functions
from tests.combinations import DEFAULT_ISAS, in_pairs
from tests.engine.zoo import SHAPES, lengths_of, numpy_answers, zoo
from tests.kernels.steps import Steps
from tests.models import random_model

QKV = "layers.0.attention.qkv"


@pytest.mark.parametrize("name", SHAPES)
def test_int8_models_have_the_bits_of_numpy(isa, name):
    model = zoo(name, "int8")
    texts = model.texts(lengths_of(model))
    compiled = model.engine()
    answers = compiled.forward(*texts)
    assert compiled.isa == isa
    np.testing.assert_array_equal(answers, numpy_answers(name, "int8"))
    assert np.isfinite(answers).all()
    if name != "ones":
        assert np.abs(answers).max() > 0.1


@in_pairs(isa=(), name=SHAPES, kind=["float32", "mixed"])
def test_float32_models_are_those_of_numpy(isa, name, kind):
    """Float32 sums have an order of their own in NumPy's BLAS; a code of a mixed model may fall to the other side."""
    model = zoo(name, kind)
    texts = model.texts(lengths_of(model))
    answers = model.engine().forward(*texts)
    expected = numpy_answers(name, kind)
    size = max(float(np.abs(expected).max()), 1.0)
    if kind == "float32":
        np.testing.assert_allclose(answers, expected, rtol=0, atol=4e-6 * size)
    else:
        np.testing.assert_allclose(answers, expected, rtol=0, atol=2e-2 * size)
        assert np.median(np.abs(answers - expected)) < 1e-6 * size


@pytest.mark.parametrize("isas", [DEFAULT_ISAS, pytest.param(supported_isas(), marks=pytest.mark.slow)], ids="-".join)
@pytest.mark.parametrize("kind", ["int8", "mixed", "float32"])
@pytest.mark.parametrize("name", SHAPES)
def test_instruction_sets_agree(jit, monkeypatch, name, kind, isas):
    model = zoo(name, kind)
    texts = model.texts(lengths_of(model))
    answers = {}
    for isa in isas:
        monkeypatch.setenv("MINIBERT_ISA", isa)
        answers[isa] = model.engine().forward(*texts)
    best = next(iter(answers.values()))
    for other in answers.values():
        if kind == "int8":
            assert other.tobytes() == best.tobytes()
        else:  # where a CPU fuses multiplication and addition, float32 sums are rounded less often
            np.testing.assert_allclose(other, best, rtol=0, atol=2e-2 * max(float(np.abs(best).max()), 1.0))


@cache
def inputs_of_linears(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What each linear of a model reads in NumPy, and the model's answers."""
    model, inputs = zoo(name, "int8"), {}
    texts = model.texts(lengths_of(model))
    answers = model.reference().forward(*texts, hook=lambda linear, rows: inputs.update({linear: rows.copy()}))
    return inputs, answers


@pytest.mark.parametrize("name", SHAPES)
def test_every_matmul_gets_the_same_integers(isa, name):
    """Step by step through the plan: the codes that each linear reads, and the rows that it makes."""
    from minibert.engine.library import kernels

    model = zoo(name, "int8")
    lengths = lengths_of(model)
    texts = model.texts(lengths)
    inputs, reference = inputs_of_linears(name)
    steps = Steps(model, kernels(isa), lengths, *texts)
    seen = []
    for number, step in enumerate(steps.plan.steps):
        steps.run(number)
        if isinstance(getattr(step, "codes", None), Codes):
            linear = step.codes.linear
            codes = functions.quantize(inputs[linear], model.tensors.get(f"{linear}.input_factor"))
            for own, twin in zip(steps.codes(number), codes, strict=True):
                np.testing.assert_array_equal(own, twin, err_msg=linear)
            seen.append(linear)
    # A matrix reads the codes that were made for it, or those of its low-rank part.
    assert seen == list(dict.fromkeys(step.source.linear for step in steps.plan.steps if isinstance(step, Matmul)))
    assert isinstance(steps.plan.steps[0], Embed)
    np.testing.assert_array_equal(steps.run(len(steps.plan.steps)), reference)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 300, 511, 512])
def test_texts_of_every_length(jit, length):
    model = random_model(max_positions=512, layers=1, pooling="mean")
    for threads in (1, 2, 3):
        texts = model.texts([length, 1, length])
        np.testing.assert_array_equal(model.engine(threads=threads).forward(*texts), model.reference().forward(*texts))


@in_pairs(
    isa=(),
    value=[np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-38, 0.0],
    tensor=[
        *(
            ("int8", name)
            for name in ("embeddings.norm.weight", f"{QKV}.bias", f"{QKV}.scale", "layers.0.ffn.up.scale")
        ),
        *(("float32", name) for name in ("embeddings.norm.weight", f"{QKV}.bias", f"{QKV}.weight")),
    ],
)
def test_extreme_weights_end_in_an_answer(isa, tensor, value):
    """Whatever the numbers are, memory is safe and the call returns; what is finite agrees with NumPy."""
    kind, name = tensor
    model = random_model(kind, pooling="mean")
    numbers = model.tensors[name]
    assert numbers.dtype == np.float32
    numbers.reshape(-1)[: numbers.size // 2] = value
    texts = model.texts([1, 5, 40, 64])
    answers = model.engine(threads=2).forward(*texts)
    with np.errstate(all="ignore"):
        expected = model.reference().forward(*texts)
    assert answers.shape == expected.shape
    if abs(value) < 1 and kind == "int8":
        np.testing.assert_array_equal(answers, expected)
