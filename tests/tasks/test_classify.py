from __future__ import annotations

import numpy as np
import pytest

from minibert import InputError
from minibert.format.schema import Task
from minibert.tasks.text_classification import BEST, Classifier, default_function, sigmoid, softmax


def task(problem_type="single_label", labels=("x", "y", "z")) -> Task:
    return Task("text-classification", labels, problem_type)


def test_scores_against_float64():
    logits = np.array([0.5, -3, 2], np.float32)
    exact = np.exp(logits.astype(np.float64))
    assert softmax(logits) == pytest.approx(exact / exact.sum(), rel=1e-6)
    assert sigmoid(logits) == pytest.approx(exact / (1 + exact), rel=1e-6)
    assert softmax(logits).dtype == sigmoid(logits).dtype == np.float32


def test_scores_of_huge_logits_are_finite():
    with np.errstate(all="raise", under="ignore"):
        assert softmax(np.array([1e38, -1e38], np.float32)).tolist() == [1, 0]
        assert sigmoid(np.array([1e38, -1e38], np.float32)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("problem_type", "labels", "function"),
    [
        ("single_label", ("x", "y"), "softmax"),
        ("single_label", ("x",), "sigmoid"),
        ("multi_label", ("x", "y"), "sigmoid"),
        ("regression", ("x",), "none"),
    ],
)
def test_the_function_is_the_one_that_transformers_applies(problem_type, labels, function):
    assert default_function(task(problem_type, labels)) == function


def test_best_and_ranked():
    classifier, row = Classifier(task()), np.array([0, 2, 1], np.float32)
    assert classifier.answer(row, "none", BEST) == {"label": "y", "score": 2.0}
    assert classifier.answer(row, "none", 2) == [{"label": "y", "score": 2.0}, {"label": "z", "score": 1.0}]
    assert [each["label"] for each in classifier.answer(row, "softmax", None)] == ["y", "z", "x"]
    assert sum(each["score"] for each in classifier.answer(row, "softmax", None)) == pytest.approx(1)


def test_equal_scores_keep_the_order_of_the_labels():
    answers = Classifier(task()).answer(np.zeros(3, np.float32), "none", None)
    assert [each["label"] for each in answers] == ["x", "y", "z"]


@pytest.mark.parametrize("top_k", [0, -1, True, 1.5, "all"])
def test_top_k_that_makes_no_sense(top_k):
    with pytest.raises(InputError, match="top_k"):
        Classifier(task()).options(None, top_k)


def test_an_unknown_function():
    with pytest.raises(InputError, match="function_to_apply"):
        Classifier(task()).options("tanh", None)
