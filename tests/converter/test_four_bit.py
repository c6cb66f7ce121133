"""Quantizing to four bits: weights lie on their grids, are stored as what they are, and make up for each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.engine import Engine
from minibert.errors import InputError
from minibert.format import read_model, write_model
from minibert.reference import Reference
from minibert.reference.linear import int8_weight
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.export import export, store_linear
from minibert_converter.network import BlockGrid, CodebookGrid, GroupGrid, LinearWeights, QuantizedLinear
from minibert_converter.passes.quantize.four_bit import round_codebook, round_int4, round_int4_blocks
from minibert_converter.recipe import Recipe
from tests.checkpoints import write_checkpoint
from tests.converter.networks import OTHER_TEXTS, TEXTS, ids_of, quantize

FORMS = ("int4", "codebook")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


@pytest.fixture
def network(folder):
    return read_checkpoint(folder)


def correlated(inputs: int, seed: int = 0) -> np.ndarray:
    """Second moments of inputs of which a few directions say nearly all."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((4 * inputs, inputs // 4)) @ random.standard_normal((inputs // 4, inputs))
    rows += 0.1 * random.standard_normal(rows.shape)
    return rows.T @ rows / len(rows)


def loss(weight, codes, scales, moments) -> float:
    lost = weight - codes * scales[:, None]
    return float(((lost @ moments) * lost).sum() / ((weight @ moments) * weight).sum())


def on_grid(linear: QuantizedLinear) -> None:
    if isinstance(linear.grid, GroupGrid | BlockGrid):
        dense = isinstance(linear.grid, GroupGrid)
        steps = linear.grid.steps(linear.q.shape[1]) if dense else linear.grid.steps()[: len(linear.q)]
        steps = steps.astype(int)
        assert 1 <= steps.min() <= steps.max() <= 18
        assert not (linear.q % steps).any()
        assert np.abs(linear.q // steps).max() <= 7
    else:
        assert isinstance(linear.grid, CodebookGrid)
        for panel, values in enumerate(linear.grid.values):
            assert 0 in values
            assert set(linear.q[16 * panel : 16 * panel + 16].reshape(-1)) <= set(values)


@pytest.mark.parametrize("round_it", [round_int4, round_codebook])
@pytest.mark.parametrize(("outputs", "inputs"), [(48, 96), (20, 112)])
def test_rounding(round_it, outputs, inputs):
    random = np.random.default_rng(outputs)
    weight = (random.standard_normal((outputs, inputs)) * random.uniform(0.1, 3, (outputs, 1))).astype(np.float32)
    weight[3] = 0
    weight[:, 5] = 0
    moments = correlated(inputs)
    codes, scales, grid = round_it(weight, moments)
    on_grid(QuantizedLinear(codes, scales, np.zeros(outputs, np.float32), grid=grid))
    assert not codes[weight == 0].any()
    compensated = loss(weight, codes, scales, moments)
    codes, scales, _ = round_it(weight, np.eye(inputs))
    assert compensated < 0.5 * loss(weight, codes, scales, moments)
    assert loss(weight, codes, scales, np.eye(inputs)) < 0.015  # 15 or 16 levels of a normal distribution


def test_a_multiplier_follows_its_group():
    """Groups of very different sizes are rounded as well as each alone."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((32, 128)).astype(np.float32)
    weight[:, 32:64] /= 8
    codes, scales, grid = round_int4(weight, np.eye(128))
    lost = (weight - codes * scales[:, None])[:, 32:64]
    assert np.square(lost).sum() < 0.03 * np.square(weight[:, 32:64]).sum()
    assert grid.multiplier[:, 1].max() < grid.multiplier[:, 0].min()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_stored_is_what_the_network_holds(network, form):
    quantize(network, texts=TEXTS, form=form)
    config, tensors = export(network)
    for name, linear in network.linears.items():
        assert config.linears[name].kind == (form if name.startswith("layers.") else "int8")
        np.testing.assert_array_equal(int8_weight(name, config.linears[name], tensors)[: len(linear.q)], linear.q)
        if linear.grid is not None:
            on_grid(linear)
    ids = ids_of(network, OTHER_TEXTS)
    answers = Reference(config, tensors).forward(ids)
    for name, linear in network.linears.items():
        network.linears[name] = replace(linear, grid=None)
    config, tensors = export(network)
    assert {linear.kind for linear in config.linears.values()} == {"int8"}
    assert Reference(config, tensors).forward(ids).tobytes() == answers.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_compensated_beats_nearest(folder, form):
    exact = read_checkpoint(folder)
    ids = ids_of(exact, OTHER_TEXTS)
    wanted = Reference(*export(exact)).forward(ids)
    errors = {}
    for method in ("nearest", "compensated"):
        network = read_checkpoint(folder)
        report = quantize(network, texts=TEXTS, method=method, form=form)
        errors[method] = np.square(Reference(*export(network)).forward(ids) - wanted).mean()
    assert errors["compensated"] < 0.7 * errors["nearest"]
    measured = report.details["tensors"]["layers.0.ffn.up"]
    assert 0 < measured["error"] < measured["nearest"]
    stored = store_linear("w", network.linears["layers.0.ffn.up"], -1.0)[1]
    assert measured["bytes_after"] == sum(tensor.nbytes for tensor in stored.values()) < 0.2 * measured["bytes_before"]


def test_each_matrix_may_have_its_own_form(network):
    forms = {"layers.0.ffn.up": "codebook", "layers.1.ffn.up": "int8", "layers.1.ffn.down": "none"}
    quantize(network, texts=TEXTS, form="int4", forms=forms)
    kinds = {name: linear.kind for name, linear in export(network)[0].linears.items()}
    expected = {name: "int4" if name.startswith("layers.") else "int8" for name in kinds}
    assert kinds == {**expected, **forms, "layers.1.ffn.down": "float32"}


def test_a_matrix_that_there_is_not(network):
    with pytest.raises(InputError, match=r"no matrix 'layers\.9\.ffn\.up'"):
        quantize(network, texts=TEXTS, forms={"layers.9.ffn.up": "int4"})


def some_blocks(weight: np.ndarray, density: float, seed: int = 0) -> np.ndarray:
    """The matrix with about this part of its 4x4 blocks."""
    keep = np.random.default_rng(seed).random((-(-len(weight) // 4), weight.shape[1] // 4)) < density
    return weight * np.kron(keep, np.ones((4, 4), weight.dtype))[: len(weight)]


@pytest.mark.parametrize(("outputs", "inputs", "density"), [(48, 96, 0.5), (22, 128, 0.2), (30, 64, 1.0)])
def test_rounding_of_blocks(outputs, inputs, density):
    """Nearly as well as in dense groups of as many weights."""
    random = np.random.default_rng(outputs)
    whole = (random.standard_normal((outputs, inputs)) * random.uniform(0.1, 3, (outputs, 1))).astype(np.float32)
    whole[3] = 0
    weight, moments = some_blocks(whole, density), correlated(inputs)
    codes, scales, grid = round_int4_blocks(weight, moments)
    on_grid(QuantizedLinear(codes, scales, np.zeros(outputs, np.float32), grid=grid))
    assert not codes[weight == 0].any()
    assert (np.kron(grid.kept, np.ones((4, 4), bool))[:outputs] >= (weight != 0)).all()
    assert len(grid.multiplier) == -(-grid.kept.sum() // 8)
    compensated = loss(weight, codes, scales, moments)
    codes, scales, _ = round_int4_blocks(weight, np.eye(inputs))
    assert compensated < 0.8 * loss(weight, codes, scales, moments)  # the fewer inputs are left, the less they make up
    dense = round_int4(whole, np.eye(inputs))[:2]
    assert loss(weight, codes, scales, np.eye(inputs)) < 1.2 * loss(whole, *dense, np.eye(inputs)) < 0.015


def test_a_run_that_serves_two_groups_of_outputs_serves_both():
    """Outputs of sizes of their own have scales of their own, so that one multiplier suits all of them."""
    random = np.random.default_rng(2)
    weight = random.standard_normal((16, 24)).astype(np.float32) * np.float32([[1], [10], [0.1], [100]]).repeat(4, 0)
    codes, scales, _ = round_int4_blocks(weight, np.eye(24))  # 6 blocks a group: two runs of three go on
    lost = np.square(weight - codes * scales[:, None]).sum(axis=1) / np.square(weight).sum(axis=1)
    assert lost.max() < 0.03


def test_blocks_of_zeros_round_to_none():
    codes, scales, grid = round_int4_blocks(np.zeros((20, 32), np.float32), np.eye(32))
    linear = QuantizedLinear(codes, scales, np.zeros(20, np.float32), grid=grid)
    schema, tensors = store_linear("w", linear, 0.6)
    assert (schema.kind, schema.blocks) == ("int4-4x4", 0)
    assert not int8_weight("w", schema, tensors).any()
    assert (tensors["w.scale"][:20] > 0).all()


@pytest.mark.parametrize("threshold", [0.6, 0.2, 0])
def test_int4_of_a_pruned_matrix_is_blocks_of_four_bits(network, tmp_path, threshold):
    """Where the threshold says so; what is left is stored, though rounding leaves nothing of some of it."""
    densities = {"layers.0.ffn.up": 0.5, "layers.1.ffn.down": 0.15, "layers.1.attention.qkv": 0.9}
    for name, density in densities.items():
        linear = network.linears[name]
        assert isinstance(linear, LinearWeights)
        weight = some_blocks(linear.weight, density)
        weight[:4, :4] *= 1e-6
        network.linears[name] = replace(linear, weight=weight)
    quantize(network, texts=TEXTS, form="int4", sparse_threshold=threshold)
    config, tensors = export(network, threshold)
    for name, density in densities.items():
        schema, linear = config.linears[name], network.linears[name]
        assert schema.kind == ("int4-4x4" if density < threshold else "int4")
        np.testing.assert_array_equal(int8_weight(name, schema, tensors)[: len(linear.q)], linear.q)
        on_grid(linear)
    assert config.linears["layers.0.attention.qkv"].kind == "int4"
    write_model(tmp_path / "model", config, tensors)
    file = read_model(tmp_path / "model")
    ids = ids_of(network, OTHER_TEXTS)
    for name, linear in network.linears.items():
        network.linears[name] = replace(linear, grid=None)
    answers = Reference(*export(network)).forward(ids)
    assert Reference(file.config, file.tensors).forward(ids).tobytes() == answers.tobytes()
    assert Engine(file, threads=1).forward(ids).tobytes() == answers.tobytes()


def test_blocks_of_four_bits_are_smaller(folder, tmp_path):
    """Than those of int8, and than dense int4: codes, places and multipliers are 10.5 bytes a block of 18 and 8.5."""
    recipe = {"pass": [{"prune": "4x4:0.5", "budget": "matrix"}, {"quantize": "int4"}]}
    report = convert(folder, tmp_path / "int4", recipe=Recipe.from_json(recipe), calibrate=TEXTS)
    file = read_model(tmp_path / "int4")
    assert {linear.kind for name, linear in file.config.linears.items() if "layers." in name} == {"int4-4x4"}
    assert sum(tensor.nbytes for tensor in file.tensors.values()) == report.total.bytes_after
    assert file.config.recipe["pass"][1] == {"quantize": "int4"}
    name = "layers.0.ffn.up"
    size = sum(file.tensors[f"{name}.{part}"].nbytes for part in ("codes", "index", "starts", "multiplier"))
    linear = file.config.linears[name]
    assert size < 0.6 * 18 * linear.blocks + 4 * (len(file.tensors[f"{name}.starts"]) + 8)
    assert size < 0.75 * 8.5 / 16 * linear.in_features * linear.out_features
    measured = report.passes[1].outcome.details["tensors"][name]
    assert 0 < measured["error"] < measured["nearest"]
    stored = sum(tensor.nbytes for key, tensor in file.tensors.items() if key.startswith(f"{name}."))
    assert measured["bytes_after"] == stored


def test_codebooks_of_what_is_mostly_zero_are_stored_as_blocks(network):
    form = "codebook"
    quantize(network, texts=TEXTS, form=form)
    linear = network.linears["layers.0.ffn.up"]
    keep = np.random.default_rng(0).random((25, 24))
    for density, kind in ((0.3, "int8-4x4"), (0.55, form)):
        pruned = replace(linear, q=linear.q * np.kron(keep < density, np.ones((4, 4), np.int8)))
        schema, tensors = store_linear("w", pruned, 0.6)
        assert schema.kind == kind
        np.testing.assert_array_equal(int8_weight("w", schema, tensors)[:100], pruned.q)


@pytest.mark.parametrize("form", FORMS)
def test_weights_beside_their_grid_are_noticed(network, form):
    quantize(network, texts=TEXTS, form=form)
    linear = network.linears["layers.0.ffn.up"]
    with pytest.raises(ValueError, match="beside its grid"):
        store_linear("w", replace(linear, q=np.arange(linear.q.size).reshape(linear.q.shape).astype(np.int8)), 0.0)


def test_converting(folder, tmp_path):
    sizes = {}
    for form in ("int8", *FORMS):
        report = convert(folder, tmp_path / form, quantize=form, calibrate=TEXTS)
        sizes[form] = report.total.bytes_after
        file = read_model(tmp_path / form)
        assert file.config.linears["layers.0.ffn.up"].kind == form
        assert sum(tensor.nbytes for tensor in file.tensors.values()) == sizes[form]
    assert max(sizes[form] for form in FORMS) < 0.8 * sizes["int8"]
    recipe = Recipe.from_json({"pass": [{"quantize": "int8", "tensors": {"layers.0.ffn.up": "int4"}}]})
    assert Recipe.from_json(recipe.to_json()) == recipe
    convert(folder, tmp_path / "mixed", recipe=recipe, calibrate=TEXTS)
    file = read_model(tmp_path / "mixed")
    assert {name for name, one in file.config.linears.items() if one.kind != "int8"} == {"layers.0.ffn.up"}
    with pytest.raises(InputError, match=r"tensors\['layers.0.ffn.up'\] must be one of"):
        Recipe.from_json({"pass": [{"quantize": "int8", "tensors": {"layers.0.ffn.up": "int5"}}]})
