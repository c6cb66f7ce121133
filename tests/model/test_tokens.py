"""Token classification: what transformers has no say in. Its answers are in tests/converter/test_pipelines.py."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from minibert import InputError, TruncationWarning, UnsupportedError
from minibert.tasks.token_classification import TokenReader
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.sliding import slide
from minibert.text.tokenizer import TextSettings
from tests.tiny import ENTITIES, tokenizer_json

TEXTS = ["a great movie", "", "Hello world, I like this one!", "the plot was bad"]
LONG = "a great movie and the film was good . " * 9


def test_one_and_many(tagger):
    every = tagger.predict(TEXTS, ignore_labels=())
    assert [len(answer) for answer in every] == [3, 0, 8, 4]
    assert [tagger.predict(text, ignore_labels=()) for text in TEXTS] == every
    assert list(tagger.iter_predict(iter(TEXTS), read_ahead=2, ignore_labels=())) == every
    assert tagger.predict(TEXTS[::-1], ignore_labels=(), batch_size=1) == every[::-1]
    assert tagger.classify_tokens([]) == []
    for text, answer in zip(TEXTS, every, strict=True):
        for each in answer:
            assert set(each) == {"entity", "score", "index", "word", "start", "end"}
            assert text[each["start"] : each["end"]].lower() == each["word"].removeprefix("##")


def test_scores_are_the_softmax_of_forward(tagger):
    text = TEXTS[0]
    logits = tagger.forward([tagger.tokenizer.encode(text).ids])[1:-1].astype(np.float64)
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, each in zip(weights, tagger.predict(text, ignore_labels=()), strict=True):
        assert each["entity"] == ENTITIES[row.argmax()]
        assert each["score"] == pytest.approx(row.max(), rel=1e-5)


def test_ignored_labels(tagger):
    every = tagger.predict(TEXTS[2], ignore_labels=[])
    labels = {each["entity"] for each in every}
    one = sorted(labels)[0]
    assert tagger.predict(TEXTS[2], ignore_labels=[one]) == [each for each in every if each["entity"] != one]
    assert tagger.predict(TEXTS[2]) == [each for each in every if each["entity"] != "O"]
    assert tagger.predict(TEXTS[2], ignore_labels=ENTITIES) == []


def test_a_long_text_is_cut_or_read_in_windows(tagger):
    with pytest.warns(TruncationWarning, match="cut to 24 tokens"):
        cut = tagger.predict(LONG, aggregation_strategy="simple", ignore_labels=())
    whole = tagger.predict(LONG, aggregation_strategy="simple", ignore_labels=(), stride=6)
    assert cut[-1]["end"] < len(LONG) // 2
    assert whole[0]["start"] == 0
    assert whole[-1]["end"] == len(LONG) - 1
    assert all(one["end"] <= other["start"] for one, other in pairwise(whole))
    with pytest.raises(InputError, match="truncation is off"):
        tagger.predict(LONG, truncation=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation_strategy": "best"}, '"simple"'),
        ({"ignore_labels": "O"}, "list of texts"),
        ({"stride": 4}, "aggregation_strategy"),
        ({"stride": 22, "aggregation_strategy": "simple"}, "too long"),
        ({"max_length": 100}, "32 positions"),
    ],
)
def test_options_that_make_no_sense(tagger, options, message):
    with pytest.raises(InputError, match=message):
        tagger.predict("a great movie", **options)


def test_what_is_no_text(tagger, classifier):
    for wrong in (None, 3, b"bytes", ("a", "b"), [("a", "b")], [1]):
        with pytest.raises(InputError):
            tagger.predict(wrong)
    with pytest.raises(UnsupportedError, match="text-classification"):
        classifier.classify_tokens("a")
    with pytest.raises(InputError, match="top_k"):
        tagger.predict("a", top_k=2)


def entities(text: str, labels: list[str], strategy: str) -> list[tuple[str, str]]:
    """Entities of a text whose tokens have these labels for certain."""
    tokenizer = LibraryTokenizer(tokenizer_json(), TextSettings(32))
    reader = TokenReader(ENTITIES, tokenizer, strategy)
    windows, _ = slide(tokenizer, text, max_length=32)
    assert len(labels) == len(windows[0].tokens), windows[0].tokens
    scores = np.full((len(labels), len(ENTITIES)), 0.05, np.float32)
    scores[range(len(labels)), [ENTITIES.index(label) for label in labels]] = 0.8
    return [(text[e["start"] : e["end"]], e["entity_group"]) for e in reader.answer(text, [(windows[0], scores)])]


def test_groups_begin_at_b_and_where_the_kind_changes():
    labels = ["B-person", "I-person", "B-person", "I-place", "O", "I-place"]
    found = [("a great", "person"), ("movie", "person"), ("plot", "place"), ("was", "place")]
    assert entities("a great movie plot the was", labels, "simple") == found


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_a_word_has_one_label(strategy):
    # "abc" is a, ##b, ##c
    assert entities("abc good", ["B-place", "O", "O", "O"], strategy) == (
        [] if strategy == "average" else [("abc", "place")]
    )


def test_normalizing_does_not_join_words():
    # With its mark the "e" is two characters of one token: by their lengths alone, "good" and this would be one word.
    text = "good e\u0301 movie"
    labels = ["B-person", "B-place", "O"]
    assert entities(text, labels, "first") == [("good", "person"), ("e", "place")]
