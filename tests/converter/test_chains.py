"""Modules of sentence-transformers in any order: its own vectors (see tests/golden/make_chains.py)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert import InputError
from minibert.cli.main import main
from minibert_converter.convert import convert
from tests.chains import CHAINS, TEXTS, thinned, write_chain, write_router

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "chains.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of a chain, the model that it becomes, in float32 or int8."""
    folder = tmp_path_factory.mktemp("chains")
    calibrate = {"none": None, "int8": [*TEXTS, "they played a very big movie"] * 8}

    @cache
    def made(name: str, quantize: str = "none") -> minibert.Model:
        if not (folder / name).exists():
            write_chain(folder / name, CHAINS[name])
        file = folder / f"{name} {quantize}"
        convert(folder / name, file, quantize=quantize, calibrate=calibrate[quantize])
        return minibert.load(file, backend="numpy")

    return made


@pytest.mark.parametrize("prompt", ["query", "document"])
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_float32_vectors(model, name, prompt):
    vectors = model(name).encode(TEXTS, prompt_name=prompt)
    wanted = np.array(GOLDEN[name][prompt])
    size = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(thinned(vectors), wanted, rtol=0, atol=1e-5 * size)
    single = [model(name).encode(text, prompt_name=prompt) for text in TEXTS]
    np.testing.assert_allclose(single, vectors, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("name", ["without the prompt", "a long chain", "tokens", "all layers and the embeddings"])
@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_int8_vectors(model, name):
    vectors = model(name, "int8").encode(TEXTS, prompt_name="query")
    wanted = np.array(GOLDEN[name]["query"])
    off = np.linalg.norm(thinned(vectors) - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert off.max() < 0.05
    lazily = list(model(name, "int8").iter_encode(TEXTS, prompt_name="query", batch_size=2))
    np.testing.assert_array_equal(lazily, vectors)


def test_a_prompt_that_swallows_the_text_is_refused(model):
    """The prompt alone has the tokens a, ##b; with the text it has one word that isn't known."""
    with pytest.raises(InputError, match="text 1 has no token behind the prompt's"):
        model("without the prompt").encode(["is good", "q" * 120], prompt="qqqqqqqqqqqqqqqqqqqq")


@pytest.mark.parametrize("name", ["Router", "Asym"])
@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_one_route_of_a_router(tmp_path, name):
    folder = write_router(tmp_path / "checkpoint", name)
    for route in ("query", "document"):
        convert(folder, tmp_path / route, quantize="none", route=route)
        vectors = minibert.load(tmp_path / route, backend="numpy").encode(TEXTS)
        np.testing.assert_allclose(thinned(vectors), GOLDEN["router"][route], rtol=0, atol=1e-5)


def test_a_route_on_the_command_line(tmp_path, capsys):
    folder, file = write_router(tmp_path / "checkpoint"), tmp_path / "model"
    command = ["convert", str(folder), "-o", str(file), "--quantize", "none"]
    assert main(command) == 1
    assert "the routes query, document, and none is chosen" in capsys.readouterr().err
    assert main([*command, "--route", "query"]) == 0
    assert minibert.load(file, backend="numpy").config.architecture.pooling == "cls"
