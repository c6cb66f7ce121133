from __future__ import annotations

import pytest

from minibert.evaluate.entities import entity_scores, spans, word_tags


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("", set()),
        ("O O", set()),
        ("B-a I-a O", {(0, 2, "a")}),
        ("B-a B-a", {(0, 1, "a"), (1, 2, "a")}),
        ("I-a I-a O I-b", {(0, 2, "a"), (3, 4, "b")}),
        ("B-a I-b I-b", {(0, 1, "a"), (1, 3, "b")}),
        ("O B-creative-work I-creative-work", {(1, 3, "creative-work")}),
    ],
)
def test_spans(tags, wanted):
    assert spans(tags.split()) == wanted


def test_scores_count_exact_spans():
    truth = [["B-a", "I-a", "O", "B-b"], ["O", "B-a"]]
    answers = [["B-a", "I-a", "O", "B-a"], ["B-a", "I-a"]]
    scores = entity_scores(truth, answers)
    assert scores == {"entity_f1": pytest.approx(1 / 3), "entity_precision": 1 / 3, "entity_recall": 1 / 3}
    assert entity_scores([["O"]], [["O"]])["entity_f1"] == 0


def test_a_word_has_the_tag_of_its_first_token():
    tokens = [
        {"start": 0, "end": 2, "entity": "B-a"},
        {"start": 2, "end": 4, "entity": "O"},
        {"start": 7, "end": 8, "entity": "I-a"},
    ]
    # The second word has no token: it was not read, or there is nothing in it that the tokenizer keeps.
    assert word_tags(["abcd", "\u200b", "e", "f"], tokens) == ["B-a", "O", "I-a", "O"]
