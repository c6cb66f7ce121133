"""A real model on real text: entities of WNUT17 (Derczynski et al. 2017), float32 and int8."""

from __future__ import annotations

import pytest

import minibert
from minibert.datasets import read_conll
from minibert.evaluate import evaluate_entities
from minibert_converter.convert import convert


@pytest.mark.slow
def test_entity_f1_is_the_checkpoints(shared, tmp_path):
    rows = read_conll(shared / "data/wnut17/test.conll.gz")
    figures = {}
    for dtype, quantize in (("float32", "none"), ("int8", "int8")):
        convert(shared / "models/wnut17-minilm", tmp_path / f"{dtype}.safetensors", quantize=quantize)
        model = minibert.load(tmp_path / f"{dtype}.safetensors")
        figures[dtype] = evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows])
    # 42.86 is what was measured when the checkpoint was trained, on texts of at most 128 tokens.
    assert figures["float32"]["entity_f1"] == pytest.approx(0.4286, abs=0.001)
    assert figures["int8"]["entity_f1"] == pytest.approx(figures["float32"]["entity_f1"], abs=0.01)
