"""Which matrices are stored block-sparse, and that what is stored is what the network holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibert.errors import InputError
from minibert.format import read_model, unpack_blocks, unpack_int8, write_model
from minibert.reference import Reference
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.export import export
from minibert_converter.network import Network, QuantizedLinear
from minibert_converter.recipe.runner import measure
from minibert_converter.report import make_report
from tests.checkpoints import write_checkpoint

UP, DOWN = "layers.0.ffn.up", "layers.1.ffn.down"  # [100, 96] and [96, 112] in blocks: 25 x 24 and 24 x 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


@pytest.fixture
def network(folder) -> Network:
    """All matrices int8 by plain rounding, none of them sparse."""
    network = read_checkpoint(folder)
    for name, linear in network.linears.items():
        scale = np.abs(linear.weight).max(axis=1) / np.float32(127)
        scale[scale == 0] = 1
        codes = np.rint(linear.weight / scale[:, None]).astype(np.int8)
        network.linears[name] = QuantizedLinear(codes, scale.astype(np.float32), linear.bias)
    return network


def prune(network: Network, name: str, blocks: int) -> np.ndarray:
    """Leave so many blocks of a matrix, each with a single weight."""
    linear = network.linears[name]
    codes = np.zeros_like(linear.q)
    random = np.random.default_rng(4)
    columns = codes.shape[1] // 4
    for row, column in zip(*divmod(random.permutation(codes.size // 16)[:blocks], columns), strict=True):
        codes[4 * row + random.integers(4), 4 * column + random.integers(4)] = random.choice([-127, -1, 1, 127])
    network.linears[name] = replace(linear, q=codes)
    return codes


def stored_codes(config, tensors, name):
    linear = config.linears[name]
    if linear.kind == "int8":
        return unpack_int8(tensors[f"{name}.weight"], linear.out_features)
    parts = (tensors[f"{name}.{part}"] for part in ("blocks", "index", "starts"))
    return unpack_blocks(*parts, linear.in_features, linear.out_features)


@pytest.mark.parametrize(
    ("blocks", "threshold", "kind"),
    [
        (360, 0.6, "int8-4x4"),  # 360 of 600: exactly the threshold
        (361, 0.6, "int8"),
        (0, 0.6, "int8-4x4"),
        (1, 0.0, "int8"),
        (0, 0.0, "int8-4x4"),
        (600, 1.0, "int8-4x4"),
    ],
)
def test_the_threshold_decides(network, tmp_path, blocks, threshold, kind):
    codes = prune(network, UP, blocks)
    config, tensors = export(network, threshold)
    assert config.linears[UP].kind == kind
    assert config.linears[UP].blocks == (blocks if kind == "int8-4x4" else 0)
    write_model(tmp_path / "model.safetensors", config, tensors)
    file = read_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(stored_codes(file.config, file.tensors, UP), codes)


def test_only_sparse_matrices_are_stored_sparse_by_default(network):
    prune(network, UP, 120)
    prune(network, DOWN, 168)
    config, tensors = export(network)
    assert {name for name, linear in config.linears.items() if linear.kind == "int8-4x4"} == {UP, DOWN}
    assert config.linears[UP].density == 120 / 600
    assert config.linears[DOWN].density == 168 / 672
    for name, linear in network.linears.items():
        np.testing.assert_array_equal(stored_codes(config, tensors, name), linear.q)


def test_sparse_and_dense_files_answer_alike(network):
    prune(network, UP, 120)
    prune(network, DOWN, 168)
    ids = [[2, 17, 40, 3], [2, 99, 3]]
    sparse = Reference(*export(network)).forward(ids)
    config, tensors = export(network, 0.0)
    assert {linear.kind for linear in config.linears.values()} == {"int8"}
    np.testing.assert_array_equal(Reference(config, tensors).forward(ids), sparse)


def test_report_counts_the_bytes_of_blocks(network):
    prune(network, UP, 120)
    tensors = export(network)[1]
    report = make_report(network, tensors)
    assert report.total.bytes_after == sum(tensor.nbytes for tensor in tensors.values())


def test_a_checkpoint_with_blocks_of_zeros_becomes_sparse(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    keep = np.random.default_rng(5).random((25, 24)) < 0.2
    weights[name] = weights[name] * np.kron(keep, np.ones((4, 4), np.float32))
    pruned = write_checkpoint(tmp_path / "pruned")
    save_file(weights, pruned / "model.safetensors")
    report = convert(pruned, tmp_path / "sparse", calibrate=["a good book"])
    file = read_model(tmp_path / "sparse")
    assert file.config.linears[UP].kind == "int8-4x4"
    assert {linear.kind for name, linear in file.config.linears.items() if name != UP} == {"int8"}
    assert file.config.recipe["sparse_threshold"] == 0.6
    convert(pruned, tmp_path / "dense", sparse_threshold=0.1, calibrate=["a good book"])
    dense = read_model(tmp_path / "dense")
    assert dense.config.linears[UP].kind == "int8"
    assert report.file_bytes < dense.size
    np.testing.assert_array_equal(
        stored_codes(file.config, file.tensors, UP), stored_codes(dense.config, dense.tensors, UP)
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_thresholds_that_are_no_fractions(folder, tmp_path, threshold):
    with pytest.raises(InputError, match="sparse_threshold"):
        convert(folder, tmp_path / "model", sparse_threshold=threshold)
    assert list(tmp_path.iterdir()) == []


def test_the_tokenizer_is_tables_where_it_has_any(folder, tmp_path):
    network = read_checkpoint(folder)
    report = convert(folder, tmp_path / "model.safetensors")
    convert(folder, tmp_path / "again.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    file = read_model(tmp_path / "model.safetensors")
    assert file.config.text.tables is not None
    assert "tokens" not in file.config.provenance
    assert json.loads(file.tokenizer_json()) == json.loads(network.tokenizer_json)
    stored = sum(tensor.nbytes for name, tensor in file.tensors.items() if name.startswith(("text.", "tokenizer.")))
    assert report.parts[-1].name == "tokenizer"
    assert report.parts[-1].bytes_after == stored > file.tensors["tokenizer.json"].nbytes
    counted = measure(network)
    assert counted.bytes >= stored
    assert counted.parameters == measure(replace(network, tokenizer_json=_regular(network))).parameters


def _regular(network: Network) -> str:
    """Its tokenizer with a regular expression, which no tables have."""
    tokenizer = json.loads(network.tokenizer_json)
    pattern = {"Regex": "[ab]+|[cd]+"}
    tokenizer["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return json.dumps(tokenizer)


def test_a_tokenizer_without_tables_stays_whole_and_the_file_says_why(network, tmp_path):
    network.tokenizer_json = _regular(network)
    config, tensors = export(network)
    assert config.text.tables is None
    assert "a regular expression" in config.provenance["tokens"]
    assert "tokens" not in network.provenance
    write_model(tmp_path / "model.safetensors", config, tensors)
    assert read_model(tmp_path / "model.safetensors").tokenizer_json() == network.tokenizer_json
