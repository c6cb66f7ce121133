"""What `minibert inspect` says of matrices: kind, pattern, density, bytes."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.cli.matrices import list_matrices, matrices_table
from minibert.format import read_model, write_model
from minibert.format.constants import BLOCK_KINDS
from minibert.reference.linear import int8_weight
from tests.format.models import CONFIGS, make_tensors

_FILES = ("sparse", "shared_sparse", "sparse_four_bit", "shared_sparse_four_bit", "four_bit", "shared_four_bit")


@pytest.fixture(scope="module", params=[*_FILES, "int8", "float32"])
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / f"{request.param}.safetensors"
    write_model(path, CONFIGS[request.param], make_tensors(CONFIGS[request.param]))
    return path


def test_every_matrix_is_listed_in_the_order_of_a_forward_pass(path):
    file = read_model(path)
    matrices = {each["name"]: each for each in list_matrices(file)}
    names = [f"layers.{n}.{half}" for n in range(2) for half in ("attention.qkv", "attention.output", "ffn.up")]
    places = [list(matrices).index(name) for name in names]
    assert places == sorted(places)
    assert list(matrices)[-1] == "head.output"
    assert set(matrices) == set(file.config.linears)
    for name, matrix in matrices.items():
        linear = file.config.linears[name]
        assert (matrix["kind"], matrix["outputs"], matrix["inputs"]) == (
            linear.kind,
            linear.out_features,
            linear.in_features,
        )
        assert matrix["pattern"] == ("4x4" if linear.kind in BLOCK_KINDS else "dense")
        assert matrix["nonzero"] <= matrix["density"] <= 1
        if linear.kind in BLOCK_KINDS:
            weight = int8_weight(name, linear, file.tensors)
            assert matrix["nonzero"] == pytest.approx(np.count_nonzero(weight) / linear.in_features / matrix["outputs"])


def test_bytes_are_counted_once(path):
    file = read_model(path)
    stored = {"weight", "blocks", "index", "starts", "codes", "multiplier", "codebook"}
    expected = sum(
        tensor.nbytes
        for name, tensor in file.tensors.items()
        if name.rpartition(".")[0] in file.config.linears
        and name.rpartition(".")[2] in stored
        and name not in file.config.aliases
    )
    assert sum(each["bytes"] for each in list_matrices(file)) == expected


def test_inspect_shows_matrices(run, path):
    found = run("inspect", path, "--json").json
    assert found["matrices"] == list_matrices(read_model(path))
    for options in ([], ["--tensors"]):
        shown = run("inspect", path, *options).out
        assert matrices_table(found["matrices"], each=bool(options)) in shown


def test_parts_count_the_parameters_of_sparse_matrices(run, tmp_path):
    """A pruned weight is still one of the architecture's, so a sparse model has as many as the dense one."""
    parameters = []
    for kind in ("int8", "sparse_four_bit", "sparse"):
        path = tmp_path / f"{kind}.safetensors"
        write_model(path, CONFIGS[kind], make_tensors(CONFIGS[kind]))
        parts = {part["name"]: part for part in run("inspect", path, "--json").json["parts"]}
        parameters.append(sum(part["parameters"] for part in parts.values()))
    assert len(set(parameters)) == 1
    assert parts["layers.1.ffn"]["kind"] == "int8-4x4, int8"
    assert parts["layers.0.ffn"]["kind"] == "int8-4x4"


def test_the_same_matrix_of_several_layers_is_one_line():
    def matrix(layer, density, kind="int8-4x4"):
        name = "head.output" if layer is None else f"layers.{layer}.ffn.up"
        sizes = {"outputs": 64, "inputs": 16, "pattern": "4x4", "bytes": 1000, "kernel": "blocks"}
        return {"name": name, "kind": kind, "density": density, "nonzero": density / 2, **sizes}

    matrices = [*(matrix(n, 0.2 + n / 100) for n in (0, 1, 2, 5, 7, 8)), matrix(6, 1, "int8"), matrix(None, 0.5)]
    lines = matrices_table(matrices, each=False).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["layers.0-2,5,7-8.ffn.up", "layers.6.ffn.up", "head.output"]
    assert "20.0-28.0%  10.0-14.0%  blocks  6.0 kB" in lines[0]
    assert "50.0%" in lines[2]
    assert len(matrices_table(matrices, each=True).splitlines()) == 9


def test_what_another_matrix_holds_already_is_shared(run, tmp_path):
    path = tmp_path / "shared.safetensors"
    write_model(path, CONFIGS["shared"], make_tensors(CONFIGS["shared"]))
    lines = run("inspect", path, "--tensors").out.splitlines()
    line = next(line for line in lines if line.startswith("layers.1.ffn.up "))
    assert line.endswith("shared")


def test_the_kernel_is_the_one_that_would_run(run, tmp_path, monkeypatch):
    path = tmp_path / "sparse.safetensors"
    write_model(path, CONFIGS["sparse"], make_tensors(CONFIGS["sparse"]))

    def kernels() -> set[str]:
        return {matrix["kernel"] for matrix in run("inspect", path, "--json").json["matrices"]}

    monkeypatch.setenv("MINIBERT_SPARSE", "always")
    assert kernels() == {"blocks", "dense"}
    monkeypatch.setenv("MINIBERT_SPARSE", "never")
    assert kernels() == {"dense copy", "dense"}
