"""What the pages call by name: real models and texts, in a folder of its own for each page."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from pathlib import Path

import pytest

from minibert.engine.cache import cache_folder
from minibert_converter.convert import convert
from tests.pages.blocks import ROOT
from tests.tiny import tiny_folder  # noqa: F401 - a fixture

BANKING77, MINILM = ROOT / "examples/banking77", ROOT / "packages/minilm"


def examples(count: int) -> str:
    """Questions of Banking77 and what they are about, under both names that the pages have for these columns."""
    with gzip.open(BANKING77 / "data/test.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    rows = rows[:: len(rows) // count]
    return "label\ttext\tintent\tquestion\n" + "".join(f"{label}\t{text}\t{label}\t{text}\n" for label, text in rows)


@pytest.fixture(scope="session")
def things(tmp_path_factory, tiny_folder) -> Path:  # noqa: F811
    """Every file that a page names, once for all pages."""
    folder = tmp_path_factory.mktemp("things")
    shutil.copytree(BANKING77 / "model", folder / "checkpoint")
    (folder / "my-classifier").symlink_to(folder / "checkpoint")
    (folder / "examples").symlink_to(ROOT / "examples")
    convert(folder / "checkpoint", folder / "model.safetensors")
    convert(folder / "checkpoint", folder / "float32.safetensors", quantize="none")
    for name in ("int8", "intents", "sentiment"):
        shutil.copy(folder / "model.safetensors", folder / f"{name}.safetensors")
    shutil.copy(tiny_folder / "inference.safetensors", folder / "nli.safetensors")
    shutil.copy(MINILM / "minibert_minilm/minilm.safetensors", folder)
    for name in ("train", "dev", "test", "examples"):
        (folder / f"{name}.tsv").write_text(examples(154), encoding="utf-8")
    texts = [line.split("\t")[1] for line in examples(40).splitlines()[1:]]
    for name in ("texts", "log"):
        (folder / f"{name}.txt").write_text("\n".join(texts), encoding="utf-8")
    return folder


@pytest.fixture
def folder(things, tmp_path, monkeypatch) -> Path:
    """A folder to work in, a home, and commands that ask nobody."""
    for thing in things.iterdir():
        (tmp_path / thing.name).symlink_to(thing)
    home = tmp_path / "home"
    for below in (".local/share/bash-completion/completions", ".zfunc"):  # where completions go
        (home / below).mkdir(parents=True)
    (home / "notes").mkdir()
    (home / "notes/refunds.md").write_text("Refunds take five days.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIBERT_CACHE", str(cache_folder()))
    monkeypatch.setenv("HOME", str(home))
    # As if the package of the model were installed.
    monkeypatch.syspath_prepend(str(MINILM))
    monkeypatch.setenv("PYTHONPATH", str(MINILM))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return tmp_path
