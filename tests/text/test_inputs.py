from __future__ import annotations

import numpy as np
import pytest

from minibert import InputError
from minibert.text import inputs
from minibert.text.inputs import flat_pair, is_one, many, split, text_portions


def test_one_text_or_many():
    assert all(is_one(each) for each in ("a", "", ("a", "b"), {"text": "a"}))
    assert not any(is_one(each) for each in (["a"], [], iter("a"), {"a"}, None, 3))
    assert is_one("a", pair=False)
    assert not is_one(("a", "b"), pair=False)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("a", ("a", None)),
        (("a", "b"), ("a", "b")),
        (["a", "b"], ("a", "b")),
        ({"text": "a"}, ("a", None)),
        ({"text": "a", "text_pair": None}, ("a", None)),
        ({"text_pair": "b", "text": "a"}, ("a", "b")),
    ],
)
def test_what_is_a_text(item, expected):
    assert split(item) == expected


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"a", "got bytes at index 7: decode it first"),
        (None, "got NoneType at index 7"),
        (3, "got int at index 7"),
        (("a",), "a tuple of 1 at index 7 is not a pair"),
        (("a", "b", "c"), "a tuple of 3 at index 7"),
        (["a", None], "got NoneType at index 7"),
        ({"txt": "a"}, 'must have "text"'),
        ({"text": "a", "pair": "b"}, 'may have "text_pair"'),
        ({"text": b"a"}, "got bytes at index 7"),
        ({"text": "a", "text_pair": 1}, "got int at index 7"),
        ({"text": ["a", "b"]}, r'data\["text"\]'),
        (float("nan"), "a missing value"),
        (None, "a missing value"),
        (np.float64("nan"), "a missing value"),
        (np.array(["a", "b"]), "got ndarray at index 7"),
    ],
)
def test_what_is_no_text(item, message):
    with pytest.raises(InputError, match=message):
        split(item, 7)


class Frame:
    """As a DataFrame: goes through the names of its columns."""

    columns = ("text",)

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got NoneType"),
        (3, "got int"),
        (b"abc", "decode it first"),
        (bytearray(b"abc"), "decode it first"),
        (memoryview(b"abc"), "decode it first"),
        ("abc", "put it into a list"),
        (("a", "b"), "put it into a list"),
        ({"text": "a"}, "put it into a list"),
        ({"a", "b"}, "order"),
        (frozenset("ab"), "order"),
        (Frame(), r'df\["text"\]'),
        (np.array("abc"), "without dimensions"),
        (np.array(3), "without dimensions"),
    ],
)
def test_what_cannot_hold_texts(value, message):
    with pytest.raises(InputError, match=message):
        many(value)


def test_what_holds_texts():
    for each in (["a", "b"], np.array(["a", "b"]), np.array(["a", "b"], object), {"a": 1, "b": 2}.keys(), iter("ab")):
        assert list(many(each)) == ["a", "b"]
    assert list(many(("a", "b"), pair=False)) == ["a", "b"]
    assert [split(each) for each in many(np.array([["a", "b"], ["c", "d"]]))] == [("a", "b"), ("c", "d")]


def test_a_flat_pair():
    for each in (["a", "b"], np.array(["a", "b"])):
        assert flat_pair(each) == ("a", "b")
    for each in (["a"], ["a", "b", "c"], [["a", "b"], ["c", "d"]], ["a", None], [], "ab", iter("ab")):
        assert flat_pair(each) is each


def test_windows_keep_order_and_are_lazy():
    taken = []

    def source():
        for number in range(10):
            taken.append(number)
            yield str(number)

    iterator = text_portions(source(), 4, "x")
    assert next(iterator) == [("x0", None), ("x1", None), ("x2", None), ("x3", None)]
    assert taken == [0, 1, 2, 3]
    assert [text for window in iterator for text, _ in window] == ["x4", "x5", "x6", "x7", "x8", "x9"]


def test_a_window_closes_when_it_holds_enough_characters(monkeypatch):
    monkeypatch.setattr(inputs, "PORTION_CHARACTERS", 10)
    assert [len(window) for window in text_portions(["abcdef"] * 5, 100)] == [2, 2, 1]


def test_an_error_comes_after_the_texts_before_it():
    iterator = text_portions(["a", "b", b"c", "d"], 4)
    assert next(iterator) == [("a", None), ("b", None)]
    with pytest.raises(InputError, match="index 2"):
        next(iterator)


def test_a_portion_of_nothing():
    assert list(text_portions([], 4)) == []
