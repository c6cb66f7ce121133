"""Real model files of every kind, and forges that turn them into hostile ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minibert.format import Config, write_model
from tests.format.forge import Forge
from tests.format.models import CONFIGS, make_tensors


@pytest.fixture(scope="session")
def model_files(tmp_path_factory) -> dict[str, Path]:
    """One real file of each kind, written by `write_model`."""
    folder = tmp_path_factory.mktemp("models")
    for kind, config in CONFIGS.items():
        write_model(folder / f"{kind}.safetensors", config, make_tensors(config))
    return {kind: folder / f"{kind}.safetensors" for kind in CONFIGS}


@pytest.fixture(params=list(CONFIGS))
def model_path(request, model_files) -> Path:
    return model_files[request.param]


@pytest.fixture
def model() -> tuple[Config, dict[str, np.ndarray]]:
    """Config and tensors of a small int8 classifier, to spoil and write."""
    return CONFIGS["int8"], make_tensors(CONFIGS["int8"])


@pytest.fixture
def forge(model_files, tmp_path) -> Forge:
    return Forge(model_files["int8"].read_bytes(), tmp_path)


@pytest.fixture
def shared_forge(model_files, tmp_path) -> Forge:
    return Forge(model_files["shared"].read_bytes(), tmp_path)


@pytest.fixture
def embedding_forge(model_files, tmp_path) -> Forge:
    return Forge(model_files["embedding"].read_bytes(), tmp_path)


@pytest.fixture
def compact_forge(model_files, tmp_path) -> Forge:
    return Forge(model_files["compact"].read_bytes(), tmp_path)
