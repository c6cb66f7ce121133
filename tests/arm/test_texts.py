"""Real models and real texts on the emulated cores: the labels, entities and vectors of this machine, bit for bit."""

from __future__ import annotations

import csv
import gzip
import json
from itertools import groupby
from pathlib import Path

import pytest

from tests.arm.conftest import CORES, Pi
from tests.arm.texts import answers

pytestmark = pytest.mark.slow
TEXTS = 200


def _sentences(data: Path) -> list[str]:
    with (data / "sst2" / "dev.tsv").open(encoding="utf-8", newline="") as file:
        return [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:TEXTS]


def _posts(data: Path) -> list[str]:
    with gzip.open(data / "wnut17" / "test.conll.gz", "rt", encoding="utf-8") as file:
        words = [line.rstrip("\n").split("\t")[0] for line in file]
    return [" ".join(post) for some, post in groupby(words, bool) if some][:TEXTS]


#: Name: checkpoint, what it is for, texts.
CASES = {
    "labels": ("sst2-minilm", None, _sentences),
    "entities": ("wnut17-minilm", None, _posts),
    "vectors": ("banking77-minilm", "sentence-embedding", _sentences),
}


@pytest.fixture(scope="session", params=CASES)
def case(request, shared, tmp_path_factory):
    """A model file, a file of texts, and this machine's answers."""
    pytest.importorskip("minibert_converter")
    from minibert_converter.convert import convert

    checkpoint, task, texts = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    model, lines = folder / "model.safetensors", folder / "texts.txt"
    convert(shared / "models" / checkpoint, model, task=task)
    lines.write_text("\n".join(texts(shared / "data")), encoding="utf-8")
    found = answers(model, lines.read_text(encoding="utf-8").splitlines())
    assert len(found) == TEXTS
    return model, lines, found


@pytest.mark.parametrize("pi", CORES, indirect=True)
def test_answers_are_those_of_this_machine(case, pi: Pi):
    model, lines, expected = case
    done = pi.python("-m", "tests.arm.texts", str(model), str(lines), timeout=3000)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
