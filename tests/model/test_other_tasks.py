"""Questions, masks, zero-shot, ranking, features: what transformers has no say in (see test_pipelines.py)."""

from __future__ import annotations

import numpy as np
import pytest

from minibert import InputError, TruncationWarning, UnsupportedError

CONTEXT = "the plot was good and the actor was not very bad"
LONG = "the film was a great movie and i like it . " * 9


def test_questions_in_all_their_forms(answerer):
    one = answerer.predict(question="was it good", context=CONTEXT)
    assert set(one) == {"score", "start", "end", "answer"}
    assert one["answer"] == CONTEXT[one["start"] : one["end"]] != ""
    assert 0 < one["score"] < 1
    assert answerer.predict(("was it good", CONTEXT)) == one
    assert answerer.predict({"question": "was it good", "context": CONTEXT}) == one
    assert answerer.answer([("was it good", CONTEXT), ("a", "b")])[0] == one
    assert answerer.answer(question=["was it good", "who"], context=CONTEXT)[0] == one
    assert list(answerer.iter_predict(iter([("was it good", CONTEXT)]))) == [one]
    assert answerer.predict(("was it good", CONTEXT), top_k=3)[0] == one


def test_answers_of_long_contexts_come_from_all_windows(answerer):
    answers = answerer.predict(("was it good", LONG), top_k=500, max_answer_len=3)
    assert max(each["end"] for each in answers) > len(LONG) - 20
    assert len({(each["start"], each["end"]) for each in answers}) == len(answers)
    assert all(len(each["answer"].split()) <= 3 for each in answers)
    scores = [each["score"] for each in answers]
    assert scores == sorted(scores, reverse=True)


def test_questions_without_answers(answerer):
    nothing = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    assert answerer.predict(("who", "")) == nothing
    assert answerer.predict(("who", ""), top_k=2) == []
    answers = answerer.predict(("who", CONTEXT), top_k=100, handle_impossible_answer=True)
    assert [each["answer"] for each in answers].count("") == 1


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("a question alone", {}),
        ({"question": "who"}, {}),
        ({"text": "who", "text_pair": "he"}, {}),
        (None, {"question": "who"}),
        (None, {"question": ["who", "what"], "context": ["he"]}),
        (("who", "he"), {"question": "who"}),
        (("who", "he"), {"top_k": 0}),
        (("who", "he"), {"max_answer_len": 0}),
        (("who", "he"), {"doc_stride": -1}),
        (("who", "he"), {"doc_stride": 99}),
        (("very " * 40, "he"), {}),
    ],
)
def test_wrong_questions(answerer, given, options):
    with pytest.raises(InputError):
        answerer.predict(given, **options)


def test_masks(filler):
    one = filler.predict("a great [MASK]")
    assert len(one) == 5
    assert one[0]["sequence"] == f"a great {one[0]['token_str'].removeprefix('##')}" or "##" in one[0]["token_str"]
    assert filler.predict(["a great [MASK]", "[MASK] bad"])[0] == one
    assert len(filler.predict("[MASK] and [MASK]", top_k=2)) == 2
    every = filler.predict("a great [MASK]", top_k=10_000)
    assert sum(each["score"] for each in every) == pytest.approx(1, abs=1e-4)
    assert every[:5] == one
    chosen = filler.predict("a great [MASK]", targets=["movie", "plot", "Bad"])
    assert {each["token_str"] for each in chosen} == {"movie", "plot", "bad"}
    assert chosen == [each for each in every if each["token_str"] in ("movie", "plot", "bad")]
    with pytest.warns(UserWarning, match="no single token"):
        assert filler.predict("a [MASK]", targets="zz")[0]["token_str"] == "z"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("no mask", {}, r"has no \[MASK\]"),
        ("very " * 40 + "[MASK]", {}, "in its first 24 tokens"),
        (("a [MASK]", "b"), {}, "single texts"),
        ("[MASK]", {"top_k": 0}, "top_k"),
        ("[MASK]", {"targets": []}, "at least one"),
        ("[MASK]", {"targets": ["你"]}, "no token"),
    ],
)
def test_wrong_masks(filler, text, options, message):
    with pytest.raises(InputError, match=message):
        filler.predict(text, **options)


def test_zero_shot(inference, classifier):
    one = inference.predict("a great movie", candidate_labels="film, plot ,bad")
    assert set(one) == {"sequence", "labels", "scores"}
    assert set(one["labels"]) == {"film", "plot", "bad"}
    assert sum(one["scores"]) == pytest.approx(1)
    texts = ["a great movie", "bad"]
    assert inference.predict(texts, candidate_labels=["film", "plot", "bad"])[0] == one
    assert next(inference.iter_predict(iter(texts), candidate_labels="film,plot,bad", read_ahead=1)) == one
    # Entailment comes first here, so contradiction is the last label.
    row = inference.forward([inference.tokenizer.encode("bad", "This example is film.").ids])
    types = [inference.tokenizer.encode("bad", "This example is film.").type_ids]
    row = inference.forward([inference.tokenizer.encode("bad", "This example is film.").ids], types)[0]
    wanted = 1 / (1 + np.exp(row[2] - row[0]))
    assert inference.zero_shot("bad", "film")["scores"] == pytest.approx([wanted], rel=1e-5)
    with pytest.raises(UnsupportedError, match="entailment"):
        classifier.zero_shot("bad", ["film"])
    for options in ({"candidate_labels": []}, {"candidate_labels": "a", "hypothesis_template": "no place"}):
        with pytest.raises(InputError):
            inference.predict("bad", **options)


def test_zero_shot_cuts_the_text_and_never_a_label(inference):
    labels = ["a great movie and the actor was good", "a great movie and the actor was bad"]
    with pytest.warns(TruncationWarning):
        answer = inference.zero_shot(LONG, labels, hypothesis_template="{}")
    ids, types = [], []
    for label in labels:
        hypothesis = inference.tokenizer.content(label).ids
        first = inference.tokenizer.content(LONG, 24 - 3 - len(hypothesis)).ids
        ids.append([2, *first, 3, *hypothesis, 3])
        types.append([0] * (len(first) + 2) + [1] * (len(hypothesis) + 1))
        assert len(ids[-1]) == 24
    logits = inference.forward(ids, types)[:, 0].astype(np.float64)
    right = np.exp(logits) / np.exp(logits).sum()
    found = dict(zip(answer["labels"], answer["scores"], strict=True))
    assert [found[label] for label in labels] == pytest.approx(right.tolist(), rel=1e-5)
    with pytest.raises(InputError, match="stays whole"):
        inference.zero_shot(LONG, "very " * 30)


def test_a_refused_text_of_zero_shot_ends_the_answers(inference):
    answers = inference.iter_predict(iter(["bad", None, "good"]), candidate_labels="film,plot")
    assert next(answers)["sequence"] == "bad"
    with pytest.raises(InputError, match="index 1"):
        next(answers)


def test_ranking(ranker, classifier):
    documents = ["a great movie", "bad", "", "the plot"]
    ranked = ranker.rank("good film", documents)
    scores = ranker.score([("good film", each) for each in documents])
    assert scores.dtype == np.float32
    assert [each["corpus_id"] for each in ranked] == np.argsort(-scores).tolist()
    assert [each["score"] for each in ranked] == sorted(scores.tolist(), reverse=True)
    best = ranker.rank("good film", documents, top_k=1, return_documents=True)
    assert best == [{**ranked[0], "text": documents[ranked[0]["corpus_id"]]}]
    assert ranker.score(("good film", "bad")) == float(scores[1])
    assert ranker.rank("good film", []) == []
    logits = ranker.score(("good film", "bad"), function_to_apply="sigmoid")
    assert logits == pytest.approx(1 / (1 + np.exp(-scores[1])), rel=1e-5)
    assert classifier.score([("a", "b")]).shape == (1, 3)
    with pytest.raises(UnsupportedError, match="one output"):
        classifier.rank("a", ["b"])
    for wrong in ({"documents": "text"}, {"documents": ["a"], "top_k": 0}):
        with pytest.raises(InputError):
            ranker.rank("a", **wrong)


def test_features(embedder, classifier, tagger):
    rows = embedder.features("a great movie")
    assert rows.shape == (5, 40)
    np.testing.assert_allclose(rows.mean(axis=0), embedder.encode("a great movie"), atol=1e-5)
    both = embedder.features(["bad", "a great movie"])
    np.testing.assert_array_equal(both[1], rows)
    assert classifier.features(("a", "b")).shape == (5, 40)
    assert tagger.features([]) == []
    with pytest.warns(TruncationWarning):
        assert embedder.features(LONG).shape == (24, 40)


def test_sparse_vectors(filler, tagger):
    text = "a great movie"
    logits = filler.forward([filler.tokenizer.encode(text).ids])
    wanted = np.log1p(np.maximum(logits, 0)).max(axis=0)
    vector = filler.encode_sparse(text)
    assert vector.indices.tolist() == np.flatnonzero(wanted).tolist()
    np.testing.assert_allclose(vector.values, wanted[vector.indices], rtol=1e-6)
    assert len(filler.encode_sparse([text, "bad"])) == 2
    with pytest.raises(UnsupportedError, match="fill-mask"):
        tagger.encode_sparse(text)
