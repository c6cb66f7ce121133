"""What the commands write never takes the place of what they read, of devices, or of folders of the user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minibert.cli.main import main
from minibert.errors import InputError
from minibert.format import is_model_file
from minibert_converter.budget.state import State
from minibert_converter.convert import convert
from tests.checkpoints import write_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="devices and links of POSIX")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("plain") / "checkpoint")


@pytest.fixture
def snapshot(tmp_path, plain) -> Path:
    """A checkpoint as the Hub's cache keeps it: links into a folder of blobs."""
    folder = tmp_path / "hub/snapshots/abc"
    folder.mkdir(parents=True)
    (tmp_path / "hub/blobs").mkdir()
    for path in plain.iterdir():
        (tmp_path / "hub/blobs" / path.name).write_bytes(path.read_bytes())
        (folder / path.name).symlink_to(f"../../blobs/{path.name}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "../../blobs/vocab.txt"])
@pytest.mark.parametrize("budget", [False, True])
def test_a_snapshot_of_the_hub_stays_what_it_is(snapshot, capsys, name, budget):
    before = contents(snapshot.parents[1])
    extra = ["--max-size", "8MB"] if budget else ["--quantize", "none"]
    assert "would be lost" in refused(capsys, "convert", snapshot, "-o", snapshot / name, *extra)
    assert contents(snapshot.parents[1]) == before


def test_texts_that_a_recipe_names(tmp_path, plain):
    texts, recipe = tmp_path / "texts.txt", tmp_path / "recipe.toml"
    texts.write_text("a good book\n")
    for line in ('calibrate = "texts.txt"\n[[pass]]\nquantize = "int8"', '[[pass]]\nvocab_from = "texts.txt"'):
        recipe.write_text(line)
        with pytest.raises(InputError, match="would be lost"):
            convert(plain, texts, recipe=recipe)
    assert texts.read_text() == "a good book\n"


def test_a_file_that_would_be_taken_for_the_weights(tmp_path, plain):
    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="would be taken for the weights"):
        convert(folder, folder / "model.safetensors", quantize="none")


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize("kind", ["device", "pipe", "calibrate", "source", "recipe"])
def test_each_output_of_convert(tmp_path, plain, capsys, option, kind):
    os.mkfifo(tmp_path / "pipe")
    texts, recipe = tmp_path / "texts.txt", tmp_path / "recipe.toml"
    texts.write_text("a good book\n")
    recipe.write_text('[[pass]]\nquantize = "int8"\n')
    place = {
        "device": Path("/dev/null"),
        "pipe": tmp_path / "pipe",
        "calibrate": texts,
        "source": plain / "vocab.txt",
        "recipe": recipe,
    }[kind]
    before, mode = contents(plain), stat.S_IFMT(os.stat(place).st_mode)
    outputs = {"-o": tmp_path / "model", "--report": tmp_path / "page.html", option: place}
    words = ["convert", plain, "--recipe", recipe, "--calibrate", texts]
    error = refused(capsys, *words, *[word for pair in outputs.items() for word in pair])
    assert f"is a {kind}" in error or "would be lost" in error
    assert (contents(plain), stat.S_IFMT(os.stat(place).st_mode)) == (before, mode)
    assert texts.read_text() == "a good book\n"
    assert not (tmp_path / "model").exists()  # said before any work


def test_the_page_never_takes_the_place_of_the_model(tmp_path, plain, capsys):
    path = tmp_path / "model"
    words = ["convert", plain, "-o", path, "--quantize", "none"]
    assert "would be lost" in refused(capsys, *words, "--report", path)
    assert not path.exists()
    assert main([str(word) for word in (*words, "--report", tmp_path / "page.html")]) == 0
    assert is_model_file(path)
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert "would be lost" in refused(capsys, "encode", path, "a text", "--npy", path)
    assert is_model_file(path)


def test_a_folder_that_only_has_the_name_of_a_search(tmp_path):
    folder = tmp_path / "model.search"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="in the way"):
        State(tmp_path / "model", {})
    (folder / "measured.json").write_text("[]")
    with pytest.raises(InputError, match="no state of a search that can be read"):
        State(tmp_path / "model", {})
    assert (folder / "thesis.tex").exists()


def test_a_search_that_was_killed_at_its_first_step_goes_on(tmp_path):
    (tmp_path / "model.search").mkdir()
    (tmp_path / "model.search/measured.json.tmp0123456789abcdef").touch()
    state = State(tmp_path / "model", {"a": 1})
    assert state.get("key", lambda: 5) == 5
    assert State(tmp_path / "model", {"a": 1}).get("key", lambda: 6) == 5
    assert State(tmp_path / "model", {"a": 2}).get("key", lambda: 7) == 7
