"""SetFit folders: a classifier of scikit-learn behind a sentence encoder (tests/golden/make_setfit.py)."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert.errors import CheckpointError, MinibertError, UnsupportedError
from minibert_converter.checkpoints.estimator import read_linear_classifier
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json

HERE = Path(__file__).parents[1] / "golden/setfit"
ANSWERS = json.loads((HERE / "answers.json").read_text())
TEXTS = ["a great movie", "the old house", "not bad"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A SetFit folder of two classes."""
    config = {**CONFIG, "architectures": ["BertModel"]}
    folder = write_checkpoint(tmp_path / "checkpoint", config, bert_weights(config, labels=None))
    names = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    modules = [
        {"idx": int(n), "name": n, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, path, kind in names
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 96, "pooling_mode_mean_tokens": True})
    write_json(folder / "config_setfit.json", {"labels": ["negative", "positive"], "normalize_embeddings": False})
    shutil.copy(HERE / "two.joblib", folder / "model_head.pkl")
    return folder


@pytest.mark.parametrize("ending", ["pkl", "joblib"])
@pytest.mark.parametrize("name", ["two", "three", "text"])
def test_probabilities_are_those_of_scikit_learn(name, ending):
    made = read_linear_classifier(HERE / f"{name}.{ending}")
    scores = np.array(ANSWERS["rows"]) @ made.weight.T + made.bias
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(scores / scores.sum(axis=1, keepdims=True), ANSWERS[name], atol=1e-6)


@pytest.mark.parametrize("normalized", [False, True])
def test_the_classifier_becomes_the_head(folder, tmp_path, normalized):
    write_json(folder / "config_setfit.json", {"labels": ["negative", "positive"], "normalize_embeddings": normalized})
    convert(folder, tmp_path / "classifier", quantize="none")
    convert(folder, tmp_path / "encoder", quantize="none", task="sentence-embedding")
    classifier = read_linear_classifier(folder / "model_head.pkl")
    vectors = minibert.load(tmp_path / "encoder").encode(TEXTS, normalize_embeddings=normalized)
    scores = vectors @ classifier.weight.T + classifier.bias
    answers = minibert.load(tmp_path / "classifier").predict(TEXTS)
    for row, answer in zip(scores, answers, strict=True):
        best = int(row.argmax())
        assert answer["label"] == ["negative", "positive"][best]
        assert answer["score"] == pytest.approx(1 / (1 + np.exp(row[1 - best] - row[best])), abs=1e-5)


def test_int8_is_near(folder, tmp_path):
    scores = []
    for form in ("none", "int8"):
        convert(folder, tmp_path / form, quantize=form)
        scores.append([one["score"] for one in minibert.load(tmp_path / form).predict(TEXTS)])
    assert scores[1] == pytest.approx(scores[0], abs=0.1)


def test_what_is_not_supported_is_refused_by_its_name(folder, tmp_path):
    shutil.copy(HERE / "ridge.joblib", folder / "model_head.pkl")
    with pytest.raises(UnsupportedError, match=r"model_head\.pkl: holds .*RidgeClassifier.*LogisticRegression"):
        convert(folder, tmp_path / "model")
    shutil.copy(HERE / "three.joblib", folder / "model_head.pkl")
    with pytest.raises(CheckpointError, match=r"config_setfit\.json: labels"):
        convert(folder, tmp_path / "model")
    write_json(folder / "config_setfit.json", {"span_context": 3})
    with pytest.raises(UnsupportedError, match="span_context"):
        convert(folder, tmp_path / "model")


class _Run:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_pickle_is_run(tmp_path):
    content = pickle.dumps(_Run(tmp_path / "made"))
    pickle.loads(content)  # that it would be run
    (tmp_path / "made").rmdir()
    (tmp_path / "head.pkl").write_bytes(content)
    with pytest.raises(UnsupportedError, match="mkdir"):
        read_linear_classifier(tmp_path / "head.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of pickletools
@pytest.mark.parametrize("ending", ["pkl", "joblib"])
def test_damaged_pickles(tmp_path, ending):
    whole = (HERE / f"three.{ending}").read_bytes()
    source = random.Random(ending)
    path = tmp_path / "head.pkl"
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(source.choice([1, 4])):
            content[source.randrange(len(content) // (1 if source.random() < 0.2 else 4))] = source.randrange(256)
        path.write_bytes(content[: source.choice([None, source.randrange(len(content))])])
        try:
            read_linear_classifier(path)
        except MinibertError:
            refused += 1
    assert refused > 100
