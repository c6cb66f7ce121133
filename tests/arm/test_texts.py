"""Real models and real texts on the emulated cores: the labels, entities and vectors of this machine.

Vectors have the same bits; scores are NumPy's softmax of the same logits, and its exp differs by a bit between CPUs.
"""

from __future__ import annotations

import csv
import gzip
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.arm.conftest import Pi
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


def _without_scores(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: value for key, value in answer.items() if key != "score"}
    return [_without_scores(part) for part in answer] if isinstance(answer, list) else answer


def _scores(answer: Any) -> list[float]:
    if isinstance(answer, dict):
        return [answer["score"]]
    return [score for part in answer for score in _scores(part)] if isinstance(answer, list) else []


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


def test_answers_are_those_of_this_machine(case, pi: Pi):
    model, lines, expected = case
    done = pi.python("-m", "tests.arm.texts", str(model), str(lines), timeout=3000)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [_without_scores(answer) for answer in found] == [_without_scores(answer) for answer in expected]
    assert _scores(found) == pytest.approx(_scores(expected), abs=1e-6)
