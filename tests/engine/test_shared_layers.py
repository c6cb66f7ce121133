"""Layers that are one in the file are one in memory, and answer as their unshared twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.engine.lower import lower
from minibert.format import read_model, write_model
from minibert.kernels import opcodes as op
from minibert.kernels.opcodes import Op
from minibert.plan import build_plan
from minibert.reference import Reference
from tests.format.models import make_config, make_tensors, shared_layers

LAYERS = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An ALBERT-like model of 12 layers that are one, and the same numbers with a copy for each layer."""
    folder = tmp_path_factory.mktemp("shared")
    config = shared_layers(make_config(layers=LAYERS))
    tensors = make_tensors(config)
    write_model(folder / "shared", config, tensors)
    everything = tensors | {name: tensors[target] for name, target in config.aliases.items()}
    write_model(folder / "alone", replace(config, aliases={}), everything)
    return read_model(folder / "shared"), read_model(folder / "alone")


def weights_of(file) -> list[int]:
    """Addresses of the weights of each step that multiplies, in order."""
    plan = build_plan(file.config)
    table = lower(plan, file.config, file.tensors, 16, 16, "portable").table
    return [int(row[op.WEIGHT]) for row in table if row[op.OP] == Op.MATMUL]


def test_stored_once_and_resident_once(files):
    shared, alone = files
    once, copies = weights_of(shared), weights_of(alone)
    assert len(once) == len(copies) == 4 * LAYERS + 2
    assert len(set(copies)) == 4 * LAYERS + 2
    assert len(set(once)) == 4 + 2
    layer = sum(tensor.nbytes for name, tensor in shared.tensors.items() if name.startswith("layers.0."))
    assert alone.size - shared.size == pytest.approx((LAYERS - 1) * layer, rel=0.2)  # and the header
    distinct = {id(tensor): tensor.nbytes for tensor in shared.tensors.values()}
    assert sum(distinct.values()) < shared.size


def test_the_same_answers(files):
    random = np.random.default_rng(0)
    ids = [random.integers(0, 23, length).tolist() for length in (3, 16, 7)]
    answers = [Reference(file.config, file.tensors).forward(ids) for file in files]
    assert answers[0].tobytes() == answers[1].tobytes()
