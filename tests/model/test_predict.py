from __future__ import annotations

import copy
import itertools
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert import FormatError, InputError, TruncationWarning, UnsupportedError
from minibert.engine import Engine
from tests.tiny import MAX_LENGTH

TEXTS = ["a great movie", "not very good", "", "hello world, I like this one!", "bad"]
LONG = "a great movie and " * 20


@pytest.fixture(scope="module", params=["numpy", "jit"])
def any_backend(request, classifier_path):
    if request.param == "jit":
        pytest.importorskip("numba")
    return minibert.load(classifier_path, backend=request.param)


def test_one_text_gives_one_result_and_a_list_a_list(classifier):
    one = classifier.predict("a great movie")
    assert set(one) == {"label", "score"}
    assert one["label"] in classifier.labels
    assert type(one["score"]) is float
    assert classifier.predict(["a great movie"]) == [one]
    assert classifier.predict(["a great movie"], top_k=1) == [[one]]
    assert classifier.predict("a great movie", top_k=1) == [one]


def test_top_k_gives_ranked_lists(classifier):
    every = classifier.predict("a great movie", top_k=None)
    assert {each["label"] for each in every} == set(classifier.labels)
    assert [each["score"] for each in every] == sorted((each["score"] for each in every), reverse=True)
    assert sum(each["score"] for each in every) == pytest.approx(1, abs=1e-6)
    assert classifier.predict("a great movie", top_k=2) == every[:2]
    assert classifier.predict("a great movie", top_k=99) == every
    assert classifier.predict(TEXTS, top_k=2)[0] == every[:2]


def test_scores_are_the_softmax_of_forward(classifier):
    ids = [classifier.tokenizer.encode(text).ids for text in TEXTS]
    logits = classifier.forward(ids)
    assert logits.shape == (5, 3)
    assert logits.dtype == np.float32
    for row, answer in zip(logits, classifier.predict(TEXTS), strict=True):
        weights = np.exp(row - row.max(), dtype=np.float64)
        assert answer["label"] == classifier.labels[row.argmax()]
        assert answer["score"] == pytest.approx(weights.max() / weights.sum(), rel=1e-6)
    assert classifier.predict("bad", function_to_apply="none")["score"] == float(logits[4].max())


def test_multi_label_is_sigmoid_and_regression_a_plain_number(tiny_folder):
    multi = minibert.load(tiny_folder / "multi.safetensors", backend="numpy")
    logits = multi.forward([multi.tokenizer.encode("bad").ids])[0]
    scores = {each["label"]: each["score"] for each in multi.predict("bad", top_k=None)}
    assert [scores[label] for label in multi.labels] == pytest.approx((1 / (1 + np.exp(-logits))).tolist(), rel=1e-5)
    score = minibert.load(tiny_folder / "regression.safetensors", backend="numpy")
    row = score.forward([score.tokenizer.encode("bad").ids])[0]
    assert score.predict("bad") == {"label": "score", "score": float(row[0])}


def test_pairs_as_tuples_lists_and_mappings(classifier):
    pair = classifier.predict(("a great movie", "bad"))
    assert pair != classifier.predict("a great movie")
    assert pair != classifier.predict(("bad", "a great movie"))
    assert classifier.predict({"text": "a great movie", "text_pair": "bad"}) == pair
    assert classifier.predict([("a great movie", "bad"), ["a great movie", "bad"]]) == [pair, pair]
    mixed = classifier.predict(["bad", ("a great movie", "bad"), {"text": "bad"}])
    assert mixed == [classifier.predict("bad"), pair, classifier.predict("bad")]


def test_nothing_gives_nothing(classifier):
    assert classifier.predict([]) == []
    assert list(classifier.iter_predict([])) == []
    assert classifier.forward([]).shape == (0, 3)
    assert classifier.token_count([]) == []


def test_the_empty_text_is_a_text(classifier):
    assert classifier.predict("")["label"] in classifier.labels
    assert classifier.token_count("") == 2


@pytest.mark.parametrize("inputs", [None, 3, b"bad", ["bad", None], ["bad", b"bad"], ("a",), ("a", "b", "c"), [["a"]]])
def test_what_is_no_text_is_refused(classifier, inputs):
    with pytest.raises(InputError):
        classifier.predict(inputs)
    with pytest.raises(InputError):
        list(classifier.iter_predict(inputs if isinstance(inputs, list) else [inputs]))


def test_any_iterable_of_texts(classifier):
    expected = classifier.predict(TEXTS)
    assert classifier.predict(iter(TEXTS)) == expected
    assert classifier.predict(np.array(TEXTS)) == expected
    assert classifier.predict(text for text in TEXTS) == expected


def test_half_a_surrogate_pair(classifier):
    assert classifier.predict("good \ud800 movie") == classifier.predict("good \ufffd movie")


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_have_the_same_bits_in_every_batch(any_backend, threads):
    model = minibert.load(any_backend.path, threads=threads, backend=any_backend.engine.backend)
    random = np.random.default_rng(1)
    words = ["a", "great", "movie", "plot", "was", "good", "bad", "not", "very", "I", "like"]
    texts = [" ".join(random.choice(words, length)) for length in random.integers(0, 20, 60)]
    pairs = [(text, texts[index - 7]) if index % 5 == 0 else text for index, text in enumerate(texts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        alone = [any_backend.predict(text, top_k=None) for text in pairs]
        for size in (1, 2, 7, 64):
            assert model.predict(pairs, top_k=None, batch_size=size) == alone
        assert model.predict(pairs, top_k=None, max_tokens=50) == alone
        assert list(model.iter_predict(pairs, top_k=None, read_ahead=13)) == alone
        order = random.permutation(len(pairs))
        assert model.predict([pairs[i] for i in order], top_k=None) == [alone[i] for i in order]


def test_iter_predict_reads_one_window_ahead(classifier):
    asked = []

    def endless():
        for number in itertools.count():
            asked.append(number)
            yield TEXTS[number % len(TEXTS)]

    results = classifier.iter_predict(endless(), read_ahead=4)
    assert asked == []
    assert [next(results) for _ in range(4)] == classifier.predict(TEXTS[:4])
    assert asked == [0, 1, 2, 3]
    assert next(results) == classifier.predict(TEXTS[4])
    assert asked == list(range(8))


def test_iter_predict_answers_what_came_before_an_error(classifier):
    results = classifier.iter_predict(["good", "bad", None])
    assert [next(results), next(results)] == classifier.predict(["good", "bad"])
    with pytest.raises(InputError, match="index 2"):
        next(results)


def test_iter_predict_refuses_options_at_once(classifier):
    with pytest.raises(InputError):
        classifier.iter_predict(TEXTS, top_k=0)
    with pytest.raises(InputError):
        classifier.iter_predict(None)


# Truncation.


def test_truncation_warns_once_and_says_how_many(classifier):
    with pytest.warns(TruncationWarning) as caught:
        classifier.predict([LONG, "bad", LONG, "good"])
    assert len(caught) == 1
    assert f"2 of 4 texts were cut to {MAX_LENGTH} tokens" in str(caught[0].message)
    assert caught[0].filename == __file__
    with pytest.warns(TruncationWarning, match="the text was cut") as caught:
        classifier.predict(LONG)
    assert caught[0].filename == __file__


def test_lazy_truncation_warns_once(classifier):
    with pytest.warns(TruncationWarning, match="1 of 2 texts was cut") as caught:
        answers = list(classifier.iter_predict(["bad", LONG, LONG, "good"], read_ahead=2))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(answers) == 4


def test_text_that_fits_exactly_is_not_cut(classifier):
    fits = "a " * (MAX_LENGTH - 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = classifier.predict(fits)
    with pytest.warns(TruncationWarning):
        assert classifier.predict(fits + "a") == answer


def test_truncation_can_be_refused(classifier):
    with pytest.raises(InputError, match=r"text 1 has 82 tokens, more than 24, and truncation is off"):
        classifier.predict(["bad", LONG], truncation=False)
    with pytest.raises(InputError, match="the text has 82 tokens"):
        classifier.predict(LONG, truncation=False)
    classifier.predict("bad", truncation=False)


def test_max_length_of_one_call(classifier):
    with pytest.warns(TruncationWarning, match="cut to 5 tokens"):
        short = classifier.predict(LONG, max_length=5)
    assert short == classifier.predict("a great movie")
    with pytest.warns(TruncationWarning, match="cut to 32 tokens"):
        classifier.predict(LONG, max_length=32)
    for wrong in (0, 4, 33):
        with pytest.raises(InputError, match="max_length"):
            classifier.predict("bad", max_length=wrong)


def test_batch_options_that_make_no_sense(classifier):
    for options in ({"batch_size": 0}, {"max_tokens": 0}):
        with pytest.raises(InputError, match="at least 1"):
            classifier.predict(["bad"], **options)
    with pytest.raises(InputError, match="read_ahead"):
        classifier.iter_predict(["bad"], read_ahead=0)


def test_token_count_is_before_truncation(classifier):
    assert classifier.token_count("a great movie") == 5
    assert classifier.token_count(("a great", "movie")) == 6
    assert classifier.token_count(["a great movie", LONG]) == [5, 82]
    with pytest.raises(InputError):
        classifier.token_count(None)


# The model itself.


def test_what_a_model_says_about_itself(classifier, classifier_path):
    assert classifier.labels == ("negative", "neutral", "positive")
    assert classifier.max_length == MAX_LENGTH
    assert classifier.size == classifier_path.stat().st_size
    assert classifier.config.architecture.hidden_size == 40
    assert classifier.task.kind == "text-classification"
    for word in ("classifier.safetensors", "text-classification", "3 labels", "2 layers", "MB", "numpy"):
        assert word in repr(classifier)


def test_a_classifier_makes_no_embeddings(classifier):
    with pytest.raises(UnsupportedError, match="use predict"):
        classifier.encode("bad")
    with pytest.raises(UnsupportedError, match="use predict"):
        classifier.iter_encode(["bad"])


def test_a_model_survives_pickling(classifier):
    again = pickle.loads(pickle.dumps(classifier))
    assert again.engine.backend == "numpy"
    assert again.predict(TEXTS) == classifier.predict(TEXTS)


def test_a_relative_path_survives_another_folder(classifier_path, classifier, monkeypatch, tmp_path):
    monkeypatch.chdir(classifier_path.parent)
    model = minibert.load(classifier_path.name, backend="numpy")
    monkeypatch.chdir(tmp_path)
    assert model.path == classifier_path
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.predict(TEXTS) == classifier.predict(TEXTS)


def test_many_threads_may_ask_at_once(classifier_path):
    model = minibert.load(classifier_path, backend="numpy")
    expected = minibert.load(classifier_path, backend="numpy").predict(TEXTS)
    answers: list[list[dict]] = []
    threads = [threading.Thread(target=lambda: answers.append(model.predict(TEXTS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 8


def test_what_cannot_be_loaded(tmp_path, classifier_path):
    for error in (FormatError, FileNotFoundError, minibert.MissingFileError):
        with pytest.raises(error, match=r"none\.safetensors: no such file"):
            minibert.load(tmp_path / "none.safetensors")
    with pytest.raises(FormatError, match="minibert convert"):
        minibert.load("sentence-transformers/all-MiniLM-L6-v2")
    for wrong in (None, 3, [classifier_path]):
        with pytest.raises(InputError, match="by its path") as raised:
            minibert.load(wrong)
        assert len(str(raised.value)) < 200
    with pytest.raises(FormatError, match="cannot be read"):
        minibert.load("a\0b")
    with pytest.raises(FormatError, match="is a folder"):
        minibert.load(tmp_path)
    (tmp_path / "broken").write_bytes(classifier_path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="broken"):
        minibert.load(tmp_path / "broken")
    with pytest.raises(InputError, match="backend"):
        minibert.load(classifier_path, backend="gpu")
    with pytest.raises(InputError, match="threads"):
        minibert.load(classifier_path, threads=0)
    assert minibert.load(str(classifier_path)).path == Path(classifier_path)


def test_forward_refuses_what_the_model_cannot_read(classifier):
    with pytest.raises(InputError, match="1 numbers where 2 were promised"):
        classifier.forward([Liar([1])])


class Liar(list):
    def __len__(self):
        return 2


def test_one_text_costs_one_pass_through_the_engine(classifier, monkeypatch):
    calls = []
    forward = Engine.forward

    def counted(self, ids, *others):
        calls.append(len(ids))
        return forward(self, ids, *others)

    monkeypatch.setattr(Engine, "forward", counted)
    classifier.predict("bad")
    classifier.predict(["bad"] * 70, batch_size=32)
    assert calls == [1, 32, 32, 6]
