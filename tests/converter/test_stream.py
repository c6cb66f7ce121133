"""Texts that pass through a network matrix by matrix see what the engine would make of them."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.errors import InputError
from minibert.reference import Reference
from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import MAX_TEXTS, MAX_TOKENS, Tokens, builtin_texts, tokenize
from minibert_converter.export import export
from minibert_converter.network import LinearWeights
from tests.converter.networks import TEXTS, quantize, read_network


@pytest.fixture
def network(tmp_path):
    return read_network(tmp_path / "checkpoint")


def expected(network, tokens):
    reference = Reference(*export(network))
    return np.concatenate([reference.forward(ids, types) for ids, types in tokens.chunks()])


def returned(stream, network):
    """What a network returned whose texts have passed through it."""
    outputs = len(network.linears[network.architecture.head[-1].name].bias)
    return np.concatenate([run.rows[stream._output][:, :outputs] for run in stream._runs])


@pytest.mark.parametrize("kind", ["float32", "int8", "mixed"])
def test_answers_are_those_of_the_reference(network, kind):
    before = dict(network.linears)
    if kind != "float32":
        quantize(network, texts=TEXTS[:8])
    if kind == "mixed":
        for name in ("layers.0.attention.qkv", "layers.1.ffn.down"):
            network.linears[name] = before[name]
    tokens = tokenize(network, TEXTS)
    stream, names = Stream(network, tokens), []
    while (name := stream.advance()) is not None:
        names.append(name)
    assert names == list(network.linears)
    np.testing.assert_allclose(
        returned(stream, network), expected(network, tokens), atol={"float32": 1e-5, "int8": 0, "mixed": 0.05}[kind]
    )


def test_inputs_and_outputs_are_those_of_each_matrix(network):
    tokens = tokenize(network, TEXTS[:9])
    seen = {}
    (ids, types), *rest = tokens.chunks()
    assert not rest
    Reference(*export(network), every_token=True).forward(
        ids, types, lambda name, rows: seen.update({name: rows.copy()})
    )
    stream = Stream(network, tokens)
    while (name := stream.advance()) is not None:
        (inputs,), (outputs,), residuals = stream.inputs(), stream.outputs(), list(stream.residuals())
        linear = network.linears[name]
        np.testing.assert_allclose(inputs, seen[name], atol=1e-5)
        np.testing.assert_allclose(outputs, inputs @ linear.weight.T + linear.bias, atol=1e-5)
        assert len(residuals) == name.endswith(("attention.output", "ffn.down"))


def test_a_matrix_replaced_on_the_way_is_felt_by_the_next(network):
    tokens = tokenize(network, TEXTS)
    stream = Stream(network, tokens)
    while (name := stream.advance()) is not None:
        if name == "layers.1.ffn.up":
            linear = network.linears[name]
            network.linears[name] = LinearWeights(linear.weight * 2, linear.bias + 1)
    np.testing.assert_allclose(returned(stream, network), expected(network, tokens), atol=2e-4)


def test_texts_that_overflow_are_refused(network):
    linear = network.linears["layers.0.ffn.up"]
    network.linears["layers.0.ffn.up"] = LinearWeights(linear.weight * np.float32(1e38), linear.bias)
    stream = Stream(network, tokenize(network, TEXTS))
    with pytest.raises(InputError, match="not finite"), np.errstate(all="ignore"):
        list(iter(stream.advance, None))


def test_more_texts_than_enough_are_thinned_evenly(network):
    texts = ["good"] * (2 * MAX_TEXTS)
    texts[1::2] = ["a very long text of the bad film"] * MAX_TEXTS
    tokens = tokenize(network, texts)
    assert set(map(len, tokens.ids)) == {3}  # [CLS] good [SEP]
    assert len(tokens.ids) == MAX_TEXTS
    long = tokenize(network, ["good " * 46] * MAX_TEXTS)
    assert MAX_TOKENS - 48 < long.count <= MAX_TOKENS
    with pytest.raises(InputError, match="at least one text"):
        tokenize(network, [])
    assert isinstance(long, Tokens)


def test_builtin_texts_are_some_hundred_different_ones():
    texts = builtin_texts()
    assert 350 < len(texts) < 600
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and text for text in texts)
    assert not any(text.startswith("#") and text[1:2] == " " for text in texts)
    assert max(map(len, texts)) > 500
