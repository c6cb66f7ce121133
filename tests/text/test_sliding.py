"""Where tokens come from, and windows of long texts."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise

import pytest

from minibert import InputError
from minibert.text import sliding
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.sliding import divide, slide
from minibert.text.tokenizer import MAX_CHARACTERS, TextSettings
from tests.text.test_tokenizer import KINDS
from tests.tiny import tokenizer_json

LONG = "the film was a great movie and i like it . " * 12


@pytest.fixture(scope="module")
def tokenizer():
    return LibraryTokenizer(tokenizer_json(), TextSettings(24))


def test_one_window_is_what_encode_gives(tokenizer):
    for text in ("", "a great movie", LONG):
        (window,), truncated = slide(tokenizer, text, max_length=24)
        encoded = tokenizer.encode(text)
        assert (window.ids, window.type_ids, truncated) == encoded
        assert window.ids[window.start : window.start + len(window.tokens)] == encoded.ids[1:-1]
    (window,), _ = slide(tokenizer, "a great movie", max_length=24, question="good?")
    assert (window.ids, window.type_ids, False) == tokenizer.encode("good?", "a great movie")
    assert window.tokens == ["a", "great", "movie"]
    assert window.offsets == [(0, 1), (2, 7), (8, 13)]


@pytest.mark.parametrize("question", [None, "good film ?"])
@pytest.mark.parametrize("stride", [0, 1, 5])
@pytest.mark.parametrize("length", [1, 17, 18, 19, 40, 80])
def test_windows_cover_everything_and_share_the_stride(tokenizer, question, stride, length):
    text = " ".join(LONG.split()[:length])
    windows, truncated = slide(tokenizer, text, max_length=24, stride=stride, question=question)
    assert not truncated
    assert all(len(window.ids) == len(window.type_ids or window.ids) <= 24 for window in windows)
    words = [text[start:end] for start, end in windows[0].offsets]
    for before, window in pairwise(windows):
        assert len(before.ids) == 24
        assert before.offsets[len(before.offsets) - stride :] == window.offsets[:stride]
        assert len(window.offsets) > stride
        words += [text[start:end] for start, end in window.offsets[stride:]]
    assert words == text.split()


def test_no_room(tokenizer):
    with pytest.raises(InputError, match="tokens of the question"):
        slide(tokenizer, "a", max_length=24, question="very " * 22)
    with pytest.raises(InputError, match="no room"):
        slide(tokenizer, "a", max_length=2)
    with pytest.raises(InputError, match="stride of 22 is too long"):
        slide(tokenizer, "a", max_length=24, stride=22)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 1, 7, 30, 400])
@pytest.mark.parametrize("prompt", ["", "great ", "a movie: "])
@pytest.mark.parametrize("piece", [16, 1 << 16])
def test_windows_that_share_nothing(monkeypatch, kind, length, prompt, piece):
    """Every token of the text in one window, behind those of the prompt, as if all had been read at once."""
    monkeypatch.setattr(sliding, "_PIECE_CHARACTERS", piece)
    tokenizer = LibraryTokenizer(KINDS[kind], TextSettings(24))
    text = " ".join(["a great", "movie", "not  bad", "one-two", "電😀"][place % 5] for place in range(length))
    parts = list(divide(tokenizer, prompt + text, max_length=24, prompt=len(prompt)))
    whole = tokenizer.content(prompt + text)
    head = [id for id, (_, end) in zip(whole.ids, whole.offsets, strict=True) if end <= len(prompt)]
    own = whole.ids[len(head) :]
    frame = tokenizer.frame(False)
    start = len(frame.before) + len(head)
    room = 24 - start - len(frame.after)
    assert [part.own for part in parts] == [min(room, len(own) - first) for first in range(0, len(own), room)]
    found = []
    for part in parts:
        assert part.start == start
        assert part.ids[:start] == [*frame.before, *head]
        assert part.ids[start + part.own :] == frame.after
        assert part.type_ids is None
        found += part.ids[start : start + part.own]
    assert found == own
    if len(parts) == 1:
        assert parts[0].ids == tokenizer.encode(prompt + text).ids


def test_windows_are_made_as_they_are_asked_for(tokenizer, monkeypatch):
    asked = []
    content = tokenizer.content
    monkeypatch.setattr(tokenizer, "content", lambda text: asked.append(len(text)) or content(text))
    parts = divide(tokenizer, "film " * MAX_CHARACTERS, max_length=24)
    assert next(parts).own == 22
    assert len(asked) == 1
    assert asked[0] < 1 << 17
    parts.close()
    with pytest.raises(InputError, match="and the 21 tokens of the prompt"):
        next(divide(tokenizer, "very " * 40, max_length=23, prompt=105))
    with pytest.raises(InputError, match=r"no room beside the special tokens$"):
        next(divide(tokenizer, "very " * 40, max_length=2))


def test_tokens_have_the_type_of_the_text(tokenizer, monkeypatch):
    frame = tokenizer.frame(False)._replace(type_ids=([1], 2, [], 2, [3]))
    monkeypatch.setattr(tokenizer, "frame", lambda pair: frame)
    (part,) = divide(tokenizer, "hello a great film", max_length=24, prompt=6, ignored_id=tokenizer.token_id("a"))
    assert part.type_ids == [1, 2, 2, 2, 3]
    assert [tokenizer.token(id) for id in part.ids] == ["[CLS]", "hello", "great", "film", "[SEP]"]
    assert (part.start, part.own) == (2, 2)


def test_surrogates_keep_their_places(tokenizer):
    text = "a \ud83d\ude80 great \ud800 movie"
    assert len(text) == 18
    content = tokenizer.content(text)
    words = {text[start:end] for start, end in content.offsets}
    assert {"a", "great", "movie", "\ud83d\ude80", "\ud800"} >= words >= {"a", "great", "movie"}


def test_a_text_of_many_pieces(tokenizer):
    text = "film " * (MAX_CHARACTERS // 4)
    content = tokenizer.content(text)
    assert len(content.ids) == MAX_CHARACTERS // 4
    assert all(text[start:end] == "film" for start, end in content.offsets)
    assert len(set(content.words)) == len(content.words)


def bare(text: str) -> str:
    """What an uncased BERT makes of characters: no controls, lower case, no marks that combine."""
    controls = ("Cc", "Cf", "Co", "Cs")
    kept = (each for each in text if each in "\t\n\r" or (unicodedata.category(each) not in controls))
    parts = unicodedata.normalize("NFD", "".join(kept).lower())
    return "".join(each for each in parts if unicodedata.category(each) != "Mn")


def test_offsets_on_every_naughty_string(shared):
    tokenizer = LibraryTokenizer((shared / "models/wnut17-minilm/tokenizer.json").read_text(), TextSettings(512))
    tokens = 0
    for text in json.loads((shared / "data/blns/blns.json").read_text()):
        content = tokenizer.content(text)
        end_of_last = 0
        for id, token, (start, end) in zip(content.ids, content.tokens, content.offsets, strict=True):
            assert 0 <= start < end <= len(text)
            said = bare(text[start:end])
            piece = token.removeprefix("##") if len(token) > 2 else token
            # A syllable of Hangul is several letters, and so may be several tokens of the same character.
            assert id == tokenizer.unknown_id or said == piece or (end - start == 1 and piece in said), (text, token)
            assert start >= end_of_last or (start, end) == (end_of_last - 1, end_of_last) or piece in said
            end_of_last = end
            tokens += 1
    assert tokens > 8000
