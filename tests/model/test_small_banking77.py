"""The distilled model of the repository: what its page says of it is what it does."""

from __future__ import annotations

from pathlib import Path

import minibert
from minibert.datasets import read_columns
from minibert.evaluate import evaluate
from minibert.format import read_model

EXAMPLE = Path(__file__).parents[2] / "examples/banking77"


def test_size_and_answers():
    path = EXAMPLE / "small.safetensors"
    size = path.stat().st_size
    assert f"| {size:,} |" in (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert size < 1_500_000
    linears = read_model(path).config.linears
    blocks = [one for name, one in linears.items() if name.startswith("layers.")]
    assert sum(one.blocks or one.all_blocks for one in blocks) < 0.6 * sum(one.all_blocks for one in blocks)
    rows = read_columns(EXAMPLE / "data/test.tsv.gz", ["text", "label"])[::10]  # whatever the engine, in seconds
    model = minibert.load(path)
    figures = evaluate(model, [text for text, _ in rows], [label for _, label in rows])
    assert figures["accuracy"] > 0.88
