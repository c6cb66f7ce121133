"""examples/distill: the row's command trains a student, which answers."""

from __future__ import annotations

import gzip

import pytest

from tests.examples.rows import ROOT, row, run


@pytest.mark.slow
def test_the_row(tmp_path):
    """With a few of its examples, in place of all, and one pass over them."""
    pytest.importorskip("torch")
    with gzip.open(ROOT / "examples/banking77/data/train.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(200)]
    (tmp_path / "few.tsv").write_text("".join(lines), encoding="utf-8")
    command = row("distill").replace("examples/banking77/data/train.tsv.gz", "few.tsv")
    assert command != row("distill")
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("python -m minibert predict student.safetensors 'where is my card?' --json", tmp_path)
    assert b'"label"' in done.stdout
