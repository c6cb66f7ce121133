"""The float32 path against what transformers and sentence-transformers compute (see tests/golden/make_golden.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from minibert.engine import Engine
from minibert.format import read_model
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.torch_zip import write_torch_file

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "classifier.json").read_text(encoding="utf-8"))
SENTENCE = json.loads((GOLDEN / "sentence.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "relu"])
def test_float32_logits_are_those_of_transformers(tmp_path, hidden_act):
    folder = write_checkpoint(tmp_path / "checkpoint", {**CONFIG, "hidden_act": hidden_act})
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    model_file = read_model(tmp_path / "model.safetensors")
    tokenizer = Tokenizer.from_str(model_file.tokenizer_json())
    tokenizer.enable_truncation(model_file.config.text.max_length)
    cases = [case for case in CASES if case["hidden_act"] == hidden_act]
    assert len(cases) == 8
    for case in cases:
        encoded = tokenizer.encode(case["text"], case["pair"])
        assert (encoded.ids, encoded.type_ids) == (case["ids"], case["token_types"]), case["text"]

    engine = Engine(model_file, backend="numpy")
    logits = engine.forward([case["ids"] for case in cases], [case["token_types"] for case in cases])
    expected = np.array([case["logits"] for case in cases])
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_pytorch_bin_with_old_names_gives_the_same_logits(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    weights = {}
    for name, values in bert_weights(CONFIG).items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        weights[name] = values
    weights["bert.embeddings.position_ids"] = np.arange(64)[None]
    write_torch_file(folder / "pytorch_model.bin", weights)
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    case = CASES[1]
    logits = Engine(read_model(tmp_path / "model.safetensors"), backend="numpy").forward([case["ids"]])
    np.testing.assert_allclose(logits[0], case["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "prompt"), [("", ""), ("query", "what is ")])
def test_float32_vectors_are_those_of_sentence_transformers(tmp_path, name, prompt):
    convert(GOLDEN / "sentence", tmp_path / "model.safetensors", quantize="none")
    model_file = read_model(tmp_path / "model.safetensors")
    assert model_file.config.task.prompts == {"query": "what is ", "document": "the "}
    assert model_file.config.text.max_length == 32
    tokenizer = Tokenizer.from_str(model_file.tokenizer_json())
    tokenizer.enable_truncation(32)
    ids = [tokenizer.encode(prompt + text).ids for text in SENTENCE["texts"]]
    vectors = Engine(model_file, backend="numpy").forward(ids)
    assert vectors.shape == (len(ids), 24)
    np.testing.assert_allclose(vectors, SENTENCE["vectors"][name], rtol=0, atol=1e-5)
