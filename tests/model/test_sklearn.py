"""MinibertEncoder: alone, and in pipelines of scikit-learn where that is installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import minibert
from minibert import InputError, MinibertEncoder, UnsupportedError
from tests.test_imports import audit

TEXTS = ["a great movie", "good", "i like this", "great actor", "bad", "it was bad", "a bad plot", "not good"]
LABELS = ["+"] * 4 + ["-"] * 4


@pytest.fixture(autouse=True)
def in_numpy(monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")


def test_what_is_set_is_what_encode_is_given(embedder, embedder_path):
    encoder = MinibertEncoder(embedder_path, normalize_embeddings=True, truncate_dim=12, prompt_name="query")
    right = embedder.encode(TEXTS, "query", normalize_embeddings=True, truncate_dim=12)
    assert (encoder.fit_transform(TEXTS) == right).all()
    assert (encoder.transform(np.array(TEXTS)[:, None]) == right).all()  # a column of a table, as scikit-learn cuts it
    assert len(encoder.get_feature_names_out()) == 12
    assert encoder.set_params(precision="binary").transform(TEXTS).dtype == np.int8
    assert (MinibertEncoder(embedder).transform(TEXTS) == embedder.encode(TEXTS)).all()
    assert "truncate_dim=12" in repr(encoder)


def test_what_is_set_later_counts(embedder_path, tiny_folder):
    encoder = MinibertEncoder(embedder_path)
    before = encoder.transform(TEXTS)
    encoder.model = tiny_folder / "prompted.safetensors"  # puts a prompt before texts
    assert (encoder.transform(TEXTS) != before).any()
    encoder.threads = 0
    with pytest.raises(InputError, match="threads"):
        encoder.transform(TEXTS)


def test_what_cannot_be_set(embedder_path, classifier_path, tmp_path):
    with pytest.raises(InputError, match="did you mean 'prompt'"):
        MinibertEncoder(embedder_path).set_params(prompts="x")
    for name, value in {"precision": "int8", "truncate_dim": 0, "prompt_name": "x", "batch_size": 0}.items():
        with pytest.raises(InputError):
            MinibertEncoder(embedder_path).set_params(**{name: value}).fit(TEXTS)
    with pytest.raises(InputError, match="threads are for a model that is to be opened"):
        MinibertEncoder(minibert.load(embedder_path), threads=1).fit(TEXTS)
    with pytest.raises(UnsupportedError):
        MinibertEncoder(classifier_path).fit(TEXTS)
    with pytest.raises(minibert.MissingFileError):
        MinibertEncoder(tmp_path / "none").fit(TEXTS)


def test_scikit_learn_is_not_imported(embedder_path):
    code = "import minibert; minibert.MinibertEncoder(sys.argv[1]).fit_transform(['bad'])"
    assert "sklearn" not in audit(code, str(embedder_path))


def test_without_scikit_learn_its_tags_say_so(embedder_path):
    code = (
        "import sys; sys.modules['sklearn'] = None; import minibert; minibert.MinibertEncoder('x').__sklearn_tags__()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError: these are tags of scikit-learn" in done.stderr


def test_in_a_pipeline(embedder, embedder_path, tmp_path):
    pytest.importorskip("sklearn")
    import joblib
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline

    encoder = MinibertEncoder(str(embedder_path), normalize_embeddings=True)
    copied = clone(encoder)
    assert copied.get_params() == encoder.get_params()
    steps = make_pipeline(encoder, LogisticRegression(C=1e4)).fit(TEXTS, LABELS)
    vectors = embedder.encode(TEXTS, normalize_embeddings=True)
    right = LogisticRegression(C=1e4).fit(vectors, LABELS)
    assert (steps.predict_proba(TEXTS) == right.predict_proba(vectors)).all()
    joblib.dump(steps, tmp_path / "steps")
    assert (joblib.load(tmp_path / "steps").predict(TEXTS) == steps.predict(TEXTS)).all()
    assert len(cross_val_score(steps, TEXTS, LABELS, cv=2, n_jobs=2)) == 2
    search = GridSearchCV(steps, {"minibertencoder__truncate_dim": [8, 16]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["minibertencoder__truncate_dim"] in (8, 16)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_fit_finds_what_scikit_learn_finds(embedder, count, class_weight):
    linear_model = pytest.importorskip("sklearn.linear_model")
    texts, labels = [*TEXTS, "bad film"], [str(place % count) for place in range(9)]
    vectors = embedder.encode(texts)
    right = linear_model.LogisticRegression(C=0.1, class_weight=class_weight, tol=1e-6, max_iter=5000)
    right = right.fit(vectors, labels).predict_proba(vectors)
    found = embedder.fit(texts, labels, C=0.1, class_weight=class_weight).predict(texts, top_k=None)
    scores = [[each["score"] for each in sorted(text, key=lambda each: each["label"])] for text in found]
    assert np.array(scores) == pytest.approx(right, abs=0.02)
