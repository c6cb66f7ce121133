from __future__ import annotations

import pickle
from dataclasses import replace
from enum import Enum, IntEnum

import numpy as np
import pytest

import minibert
from minibert import InputError, UnsupportedError
from minibert.compat.sentence_transformers import SentenceTransformer
from minibert.evaluate import evaluate
from minibert.format import HeadLayer
from minibert.regression import fit, folds_of
from tests.tiny import embedding_config, write

GOOD = ["a great movie", "good", "i like this", "great actor", "the film was great", "this is good"]
BAD = ["not very good", "bad", "it was bad", "a bad plot", "bad actor and bad plot", "not good"]
TEXTS, LABELS = GOOD + BAD, ["+"] * 6 + ["-"] * 6


@pytest.fixture(scope="module")
def fitted(embedder):
    return embedder.fit(TEXTS, LABELS, C=1e4, folds=3)


def test_what_was_fitted_is_an_ordinary_classifier(embedder, fitted, tmp_path):
    assert fitted.task.kind == "text-classification"
    assert fitted.labels == ("+", "-")
    assert [each["label"] for each in fitted.predict(TEXTS)] == LABELS
    path = tmp_path / "classifier.safetensors"
    assert fitted.save(path) == path.stat().st_size == fitted.size
    again = minibert.load(path, backend="numpy")
    for each in (again, pickle.loads(pickle.dumps(fitted))):
        assert each.predict(TEXTS, top_k=None) == fitted.predict(TEXTS, top_k=None)
    assert fitted.size - embedder.size < 4096
    report = again.config.report["fit"]
    assert (report["examples"], report["labels"], report["folds"]) == (12, 2, 3)
    assert 0 <= report["accuracy"] <= 1


def test_logits_are_those_of_the_regression(embedder, fitted):
    vectors = embedder.encode(TEXTS)
    right = fit(vectors, np.arange(12) // 6, 2, C=1e4).logits(vectors)
    found = fitted.forward([fitted.tokenizer.encode(text).ids for text in TEXTS])
    # The classifier of a file of integers is one of integers.
    assert fitted.config.linears["head.output"].kind == "int8"
    assert found == pytest.approx(right, abs=0.05 * float(np.abs(right).max()))


@pytest.mark.parametrize(
    "change",
    [{"normalize": True}, {"head": (HeadLayer("head.normalize", kind="normalize"),)}, {"pooling": "cls+mean"}],
    ids=["normalize", "head", "pooling"],
)
def test_other_models(tmp_path, change):
    config = embedding_config(default_prompt="query")
    config = replace(config, architecture=replace(config.architecture, **change))
    model = minibert.load(write(tmp_path / "m.safetensors", config), backend="numpy")
    vectors = model.encode(TEXTS, prompt="")
    right = fit(vectors, np.arange(12) // 6, 2, C=10.0).logits(vectors)
    classifier = model.fit(TEXTS, LABELS)
    found = classifier.forward([classifier.tokenizer.encode(text).ids for text in TEXTS])
    assert found == pytest.approx(right, abs=0.05 * float(np.abs(right).max()))


def test_kernels_give_the_same_bits(embedder_path, embedder, fitted):
    classifier = minibert.load(embedder_path).fit(TEXTS, LABELS)
    numpy = minibert.Model(pickle.loads(pickle.dumps(classifier))._file.data, backend="numpy")
    ids = [numpy.tokenizer.encode(text).ids for text in TEXTS]
    assert (classifier.forward(ids) == numpy.forward(ids)).all()


def test_texts_that_no_label_fits(embedder):
    classifier = embedder.fit(TEXTS, LABELS, C=0.1, other_below=0.9, other="neither")
    plain = embedder.fit(TEXTS, LABELS, C=0.1)
    for text in TEXTS:
        best = plain.predict(text)
        if best["score"] < 0.9:
            assert classifier.predict(text) == {"label": "neither", "score": pytest.approx(1 - best["score"])}
        else:
            assert classifier.predict(text) == best
        assert classifier.predict(text, top_k=None) == plain.predict(text, top_k=None)
        assert classifier.predict(text, function_to_apply="none")["label"] in "+-"
    assert {each["label"] for each in classifier.iter_predict(TEXTS)} >= {"neither"}
    report = classifier.config.report["fit"]
    assert 0 <= report["kept"] < 1
    assert "kept" not in plain.config.report["fit"]


def test_what_no_label_fits_is_evaluated_too(embedder):
    classifier = embedder.fit(TEXTS, LABELS, C=0.1, other_below=0.9, other="neither")
    answers = [each["label"] for each in classifier.predict(TEXTS)]
    assert "neither" in answers
    assert evaluate(classifier, TEXTS, answers)["accuracy"] == 1
    with pytest.raises(InputError, match="'other' is no label"):
        evaluate(classifier, TEXTS, ["other", *answers[1:]])
    numbers = embedder.fit(TEXTS, [1, 2] * 6)
    with pytest.raises(InputError, match="'0' is no label"):  # "1" is a name, so none of them is a place
        evaluate(numbers, TEXTS, ["0", "1"] * 6)


def test_what_examples_count(embedder):
    few = TEXTS[:8], LABELS[:8]  # six of one label, two of the other
    plain, balanced = embedder.fit(*few), embedder.fit(*few, class_weight="balanced")
    named = embedder.fit(*few, class_weight={"+": 8 / 12, "-": 2.0})
    text = "the plot was bad"
    score = {model: model.predict(text, top_k=None) for model in (plain, balanced, named)}
    assert score[balanced] == score[named] != score[plain]


def test_numbers_may_be_labels(embedder):
    classifier = embedder.fit(np.array(TEXTS), np.arange(12) // 6)
    assert classifier.labels == ("0", "1")
    assert classifier.config.report["fit"]["folds"] == 5
    alone = embedder.fit(TEXTS, [*range(6), *range(5), 9])
    assert alone.config.report["fit"]["accuracy"] is None


def test_a_member_of_an_enumeration_is_its_value(embedder):
    class Kind(str, Enum):
        GOOD = "good"
        BAD = "bad"

    classifier = embedder.fit(TEXTS, [Kind.GOOD] * 6 + [Kind.BAD] * 6, class_weight={Kind.GOOD: 2})
    assert classifier.labels == ("bad", "good")
    assert embedder.fit(TEXTS, [IntEnum("Number", "A B")(1 + place % 2) for place in range(12)]).labels == ("1", "2")


def test_examples_are_answered_by_what_has_not_seen_them(embedder):
    classes = np.arange(12) % 2  # which has nothing to do with the texts, but 40 numbers tell 12 texts apart
    report = embedder.fit(TEXTS, classes, C=1e6).config.report["fit"]
    vectors, fold = embedder.encode(TEXTS), folds_of(classes, report["folds"])
    right = 0
    for number in range(report["folds"]):
        found = fit(vectors[fold != number], classes[fold != number], 2, C=1e6)
        right += (found.logits(vectors[fold == number]).argmax(axis=1) == classes[fold == number]).sum()
    assert report["accuracy"] == right / 12 < 0.8


def test_a_layer_gives_a_plain_model(embedder_path, embedder):
    layer = SentenceTransformer(embedder_path, backend="numpy", truncate_dim=8)
    classifier = layer.fit(TEXTS, LABELS)
    assert type(classifier) is minibert.Model
    assert classifier.predict(TEXTS, top_k=None) == embedder.fit(TEXTS, LABELS).predict(TEXTS, top_k=None)
    layer.max_seq_length = 5
    texts = ["bad " * 3 + each for each in TEXTS]  # which are the same texts to a model that reads no more
    with pytest.warns(minibert.TruncationWarning):
        short = layer.fit(texts, LABELS)
    with pytest.warns(minibert.TruncationWarning):
        assert len({each["score"] for each in short.predict(texts)}) == 1
    assert short.max_length == 5


def test_only_files_of_models_are_replaced(fitted, tmp_path):
    path = tmp_path / "notes"
    path.write_text("of use")
    with pytest.raises(InputError, match="is no model file"):
        fitted.save(path)
    assert path.read_text() == "of use"
    assert fitted.save(path, force=True) == fitted.save(path) == path.stat().st_size


def test_what_cannot_be_fitted(embedder, classifier, colbert):
    for texts, labels, message in (
        (TEXTS, LABELS[1:], "12 texts need as many labels, got 11"),
        (TEXTS, ["+"] * 12, "different labels"),
        (TEXTS, "+" * 12, "must be a list"),
        (TEXTS, [True] * 12, "label must be a text or a whole number, got bool"),
        (TEXTS, [None] * 12, "label must be a text"),
        (TEXTS[:2], {"+", "-"}, "must be a list of them, got set"),
        (TEXTS, ["+", ""] * 6, "a label must be a name, got '' at index 1"),
        (TEXTS, ["\ud800", "-"] * 6, "a label must be a name"),
        (TEXTS, [1, "1", 2] * 4, "all texts or all numbers"),
        ("a", ["+"], "many texts"),
        ([], [], "different labels"),
        ([*TEXTS[:11], None], LABELS, "missing value"),
    ):
        with pytest.raises(InputError, match=message):
            embedder.fit(texts, labels)
    for option in (
        *({"C": 0}, {"C": "1"}, {"C": float("nan")}, {"folds": -1}, {"other_below": 0}, {"other_below": 1.5}),
        *({"other": ""}, {"class_weight": "even"}, {"class_weight": {"x": 1}}, {"class_weight": {"+": 0}}),
        *({"C": float("inf")}, {"class_weight": {"+": float("inf")}}, {"class_weight": np.array([1, 2])}),
        *({"C": 1e-300}, {"other": "\ud800"}),
    ):
        with pytest.raises(InputError):
            embedder.fit(TEXTS, LABELS, **option)
    for wrong in (classifier, colbert):
        with pytest.raises(UnsupportedError):
            wrong.fit(TEXTS, LABELS)
