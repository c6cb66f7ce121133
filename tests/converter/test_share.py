"""Layers that share their matrices: the fit, what is stored, and that all passes and the engine agree on it."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.errors import InputError
from minibert.format import read_model, write_model
from minibert.format.schema import Layer
from minibert.reference import Reference
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.export import export
from minibert_converter.matrices import PARTS, in_float32
from minibert_converter.network import LinearWeights, QuantizedLinear, TiedLinear
from minibert_converter.passes.quantize.centring import centre
from minibert_converter.passes.quantize.gather import gather_statistics
from minibert_converter.passes.share.fit import low_rank_difference, relative_error, shared_weight
from minibert_converter.passes.share.request import parse_groups
from minibert_converter.passes.share.sharing import least_pairs, most_pairs
from tests.checkpoints import write_checkpoint
from tests.converter.networks import OTHER_TEXTS, TEXTS, answers, ids_of, prune, quantize, share
from tests.models import RandomModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


@pytest.fixture
def network(folder):
    return read_checkpoint(folder)


def moments_of(inputs: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((8 * inputs, inputs)) * np.geomspace(3, 0.1, inputs)
    return rows.T @ rows / len(rows)


def test_nothing_beats_the_shared_weight():
    random = np.random.default_rng(0)
    weights = [random.standard_normal((12, 32)).astype(np.float32) for _ in range(3)]
    moments = [moments_of(32, seed) for seed in range(3)]

    def loss(weight):
        return sum(relative_error(weight - w, w, h) ** 2 for w, h in zip(weights, moments, strict=True))

    best = shared_weight(weights, moments)
    assert loss(best) < loss(np.mean(weights, axis=0))
    for seed in range(20):
        step = np.random.default_rng(seed).standard_normal(best.shape)
        step *= 0.1 * np.linalg.norm(best) / np.linalg.norm(step)
        assert loss(best) < loss(best + step)


def test_low_rank_is_the_best_of_its_rank():
    random = np.random.default_rng(1)
    difference = random.standard_normal((24, 32)).astype(np.float32)
    moments = moments_of(32, 1)
    errors = []
    for rank in (1, 4, 12, 24):
        up, down = low_rank_difference(difference, moments, rank)
        assert (up.shape, down.shape) == ((24, rank), (rank, 32))
        errors.append(relative_error(difference - up @ down, difference, moments))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3
    root = np.linalg.cholesky(moments)
    singular = np.linalg.svd(difference @ root, compute_uv=False)
    assert errors[1] == pytest.approx(np.sqrt((singular[4:] ** 2).sum() / (singular**2).sum()), rel=0.02)


@pytest.mark.parametrize(
    ("text", "layers", "groups"),
    [
        ("2+3", 6, [(2, 3)]),
        ("0+1+5,3+4", 6, [(0, 1, 5), (3, 4)]),
        ("pairs", 5, [(0, 1), (2, 3)]),
        ("sandwich", 6, [(1, 2, 3, 4)]),
        ("2x3", 6, [(0, 1, 2), (3, 4, 5)]),
        ("1x6", 6, [(0, 1, 2, 3, 4, 5)]),
    ],
)
def test_requests(text, layers, groups):
    assert parse_groups(text, layers) == (groups, 0)
    assert parse_groups("similar:2", layers) == ([], 2)


@pytest.mark.parametrize(
    "text", ["", "2", "2+", "2+2", "1+6", "0+1,1+2", "similar:0", "similar:4", "all", "2-3", "²+3", "6x1", "2x2", "0x6"]
)
def test_requests_that_make_no_sense(text):
    with pytest.raises(InputError, match="share "):
        parse_groups(text, 6)


def test_a_sandwich_needs_a_filling():
    with pytest.raises(InputError, match="too few"):
        parse_groups("sandwich", 3)


def test_layers_that_are_alike_lose_nothing(network):
    """The second layer is the first one with other biases: sharing finds that out."""
    for part in PARTS:
        first = network.linears[f"layers.0.{part}"]
        assert isinstance(first, LinearWeights)
        network.linears[f"layers.1.{part}"] = LinearWeights(first.weight.copy(), first.bias + 0.1)
    ids = ids_of(network, OTHER_TEXTS)
    before = answers(network, ids)
    report = share(network, "pairs", texts=TEXTS)
    assert max(report.errors.values()) < 1e-5
    np.testing.assert_allclose(answers(network, ids), before, atol=1e-4)
    assert all(isinstance(network.linears[f"layers.1.{part}"], TiedLinear) for part in PARTS)


def test_the_larger_the_rank_the_smaller_the_loss(folder):
    exact = read_checkpoint(folder)
    ids = ids_of(exact, OTHER_TEXTS)
    wanted = answers(exact, ids)
    losses, errors = [], []
    for rank in (0, 8, 40):
        network = read_checkpoint(folder)
        report = share(network, "0+1", rank=rank, texts=TEXTS)
        errors.append(np.mean(list(report.errors.values())))
        losses.append(np.square(answers(network, ids) - wanted).mean())
        assert report.details["groups"] == [[0, 1]]
    assert losses == sorted(losses, reverse=True)
    assert errors == sorted(errors, reverse=True)
    assert losses[2] < 0.3 * losses[0]


@pytest.mark.parametrize("rank", [0, 8])
def test_what_is_shared_is_stored_once(network, tmp_path, rank):
    share(network, "0+1", rank=rank, texts=TEXTS)
    for form in ("none", "int8"):
        if form == "int8":
            quantize(network, texts=TEXTS)
        config, tensors = export(network)
        write_model(tmp_path / form, config, tensors)
        file = read_model(tmp_path / form)
        for part in PARTS:
            first, second = (f"layers.{number}.{part}" for number in (0, 1))
            assert file.tensors[f"{second}.weight"] is file.tensors[f"{first}.weight"]
            assert file.tensors[f"{second}.bias"] is not file.tensors[f"{first}.bias"]
            assert (f"{second}.low_rank.up" in config.linears) == (rank > 0)
            if form == "int8":
                assert isinstance(network.linears[first], QuantizedLinear)
                assert file.tensors[f"{second}.input_factor"] is file.tensors[f"{first}.input_factor"]
                assert not any(one.input_factor for name, one in config.linears.items() if "low_rank.down" in name)


@pytest.mark.parametrize("rank", [0, 8])
def test_int8_is_near_float_and_the_kernels_agree_with_the_reference(network, rank):
    pytest.importorskip("numba")
    share(network, "0+1", rank=rank, texts=TEXTS)
    ids = ids_of(network, OTHER_TEXTS)
    wanted = answers(network, ids)
    report = quantize(network, texts=TEXTS)
    assert max(report.errors.values()) < 0.05
    model = RandomModel(*export(network))
    made = Reference(model.config, model.tensors).forward(ids)
    assert np.linalg.norm(made - wanted) < 0.03 * np.linalg.norm(wanted)
    assert model.engine().forward(ids).tobytes() == made.tobytes()
    assert model.engine(threads=2).forward(ids[:3]).tobytes() == made[:3].tobytes()


def test_what_a_quantized_network_stands_for(network):
    """In float32, with shared matrices and differences: near what it was before, and nearer than without them."""
    share(network, "0+1", rank=8, texts=TEXTS)
    ids = ids_of(network, OTHER_TEXTS)
    wanted = answers(network, ids)
    quantize(network, texts=TEXTS)
    found = answers(in_float32(network), ids)
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


def test_layers_share_after_pruning(network):
    share(network, "0+1", texts=TEXTS)
    with pytest.raises(InputError, match="before layers share"):
        prune(network, ["4x4:0.5"], texts=TEXTS)


def test_centring_changes_no_answer(network):
    share(network, "0+1", rank=8, texts=TEXTS)
    ids = ids_of(network, OTHER_TEXTS)
    before = answers(network, ids)
    statistics = gather_statistics(network, tokenize(network, TEXTS))
    moved = centre(network, {name: one.mean for name, one in statistics.items()})
    assert {"layers.0.ffn.up", "layers.1.ffn.up", "layers.1.attention.output"} <= set(moved)
    np.testing.assert_allclose(answers(network, ids), before, atol=1e-4)


def test_what_cannot_be_shared(network, folder):
    with pytest.raises(InputError, match="layers are 0 to 1"):
        share(network, "0+2", texts=TEXTS)
    share(network, "0+1", texts=TEXTS)
    with pytest.raises(InputError, match="share their weights already"):
        share(network, "0+1", texts=TEXTS)
    quantized = read_checkpoint(folder)
    quantize(quantized, texts=TEXTS)
    with pytest.raises(InputError, match="is quantized"):
        share(quantized, "0+1", texts=TEXTS)


def test_pairs_lose_least_in_all():
    losses = {0: 1.0, 1: 0.1, 2: 0.9, 3: 0.1, 4: 1.0}
    assert [least_pairs(losses, count) for count in range(4)] == [(), (1,), (1, 3), (0, 2, 4)]
    assert least_pairs({0: 1.0, 1: 0.1, 3: 2.0}, 2) == (1, 3)
    alike, other = Layer(4, 64), Layer(2, 64)
    assert most_pairs([]) == most_pairs([alike, other]) == 0
    assert most_pairs([alike, alike, other, alike]) == 1
    assert most_pairs([alike] * 6) == 3


def test_converting(folder, tmp_path):
    alone = convert(folder, tmp_path / "alone", calibrate=TEXTS)
    sizes = {}
    for rank in (0, 8):
        report = convert(folder, tmp_path / f"{rank}", share="similar:1", share_rank=rank, calibrate=TEXTS)
        sizes[rank] = report.total.bytes_after
        file = read_model(tmp_path / f"{rank}")
        stored = [tensor for name, tensor in file.tensors.items() if name not in file.config.aliases]
        assert sizes[rank] == sum(tensor.nbytes for tensor in stored)
        assert file.config.recipe["pass"][0] == {"share": "similar:1", **({"low_rank": rank} if rank else {})}
        assert file.config.report["passes"][0]["details"]["groups"] == [[0, 1]]
    assert sizes[0] < sizes[8] < alone.total.bytes_after
    with pytest.raises(InputError, match="share"):
        convert(folder, tmp_path / "none", share="everything")
