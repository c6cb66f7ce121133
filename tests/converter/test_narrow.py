"""A narrower stream: what is kept answers nearly as before, and the file that is written says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.errors import InputError, UnsupportedError
from minibert.reference import Reference
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.distill.sharing import share_layers
from minibert_converter.export import export
from minibert_converter.passes.prune.narrow import narrow
from minibert_converter.recipe import Context, Recipe, run
from tests.converter.networks import MANY_TEXTS, OTHER_TEXTS, TEXTS, answers, ids_of, read_network


@pytest.fixture
def network(tmp_path):
    """One whose stream has fewer directions than features: embeddings, what is written and norms lie in 48 of 96."""
    made = read_network(tmp_path / "made")
    # Neighbours are always equal, so that LayerNorm keeps them so.
    spread = np.kron(np.eye(48), np.ones((1, 2))).astype(np.float32)
    for name, table in made.tables.items():
        made.tables[name] = table[:, :48] @ spread
    for name, norm in made.norms.items():
        made.norms[name] = replace(norm, weight=norm.weight[:48] @ spread, bias=norm.bias[:48] @ spread)
    for name in ("attention.output", "ffn.down"):
        for number in range(2):
            linear = made.linears[f"layers.{number}.{name}"]
            weight, bias = spread.T @ linear.weight[:48], linear.bias[:48] @ spread
            made.linears[f"layers.{number}.{name}"] = replace(linear, weight=weight, bias=bias)
    return made


def copy_of(network):
    return replace(network, tables=dict(network.tables), linears=dict(network.linears), norms=dict(network.norms))


def test_directions_that_are_there_are_kept(network):
    """Half of the features hold the whole stream: the projection loses what LayerNorm's fit does, and little else."""
    ids = ids_of(network, OTHER_TEXTS)
    wanted = answers(network, ids)
    losses = []
    for size in (48, 40, 24):
        smaller = copy_of(network)
        narrow(smaller, size, tokenize(network, MANY_TEXTS), seed=0)
        config, tensors = export(smaller)
        assert config.architecture.hidden_size == size
        assert config.linears["layers.1.ffn.down"].out_features == size
        got = Reference(config, tensors).forward(ids)
        losses.append(np.square(got - wanted).mean() / wanted.var())
    assert losses[0] < 0.12  # the rotation changes what LayerNorm divides by
    assert losses == sorted(losses)


def test_better_than_the_first_features(network):
    """Directions that texts use, against as many features as they come."""
    ids, tokens = ids_of(network, OTHER_TEXTS), tokenize(network, TEXTS)
    wanted = answers(network, ids)
    chosen, cut = copy_of(network), copy_of(network)
    narrow(chosen, 40, tokens, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "minibert_converter.passes.prune.narrow._basis", lambda rows, size, seed: np.eye(96, size, dtype=np.float32)
        )
        narrow(cut, 40, tokens, seed=0)
    losses = [np.square(answers(one, ids) - wanted).mean() for one in (chosen, cut)]
    assert losses[0] < 0.5 * losses[1]


def test_a_pass_of_a_recipe(tmp_path):
    network = read_network(tmp_path / "plain")
    recipe = Recipe.from_json({"pass": [{"narrow": 64}, {"quantize": "int8"}]})
    reports = run(recipe, network, Context(TEXTS))
    assert network.architecture.hidden_size == 64
    assert [each.step for each in reports] == [{"narrow": 64}, {"quantize": "int8"}]
    assert np.isfinite(answers(network, ids_of(network, OTHER_TEXTS))).all()


def test_what_cannot_be_narrowed(tmp_path):
    network = read_network(tmp_path / "plain")
    tokens = tokenize(network, TEXTS)
    with pytest.raises(InputError, match="has 96 features, and fewer must stay"):
        narrow(network, 96, tokens, seed=0)
    share_layers(network, "1x2")
    with pytest.raises(UnsupportedError, match="shared layers"):
        narrow(network, 64, tokens, seed=0)
