"""Tokenizers that ask for unbounded work are refused before the library reads them; real ones are not."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from minibert import FormatError
from minibert.text.components import MAX_GROWTH, MAX_PIECE, MAX_WORD, prove_tokenizer
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.tokenizer import TextSettings
from tests.text.test_tokenizer import KINDS
from tests.tiny import MAX_LENGTH, tokenizer_json

REAL = sorted(Path(__file__).parents[1].glob("golden/**/tokenizer.json"))


def spoiled(**changes) -> str:
    return json.dumps(json.loads(tokenizer_json()) | changes)


def model(**changes) -> str:
    return spoiled(model=json.loads(tokenizer_json())["model"] | changes)


def replace(pattern: dict[str, str], content: str) -> dict:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*normalizers: dict) -> dict:
    return {"type": "Sequence", "normalizers": list(normalizers)}


def charsmap(longest: int) -> str:
    return base64.b64encode((1024).to_bytes(4, "little") + bytes(1024) + b"a\0" + b"b" * longest + b"\0").decode()


def refused(text: str, *words: str) -> None:
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        LibraryTokenizer(text, TextSettings(MAX_LENGTH))
    assert time.process_time() - start < 20
    message = str(caught.value)
    assert message.startswith("the tokenizer inside the model ")
    assert len(message) < 500
    for word in words:
        assert word in message


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.parent.name)
def test_real_tokenizers_are_proven(path):
    prove_tokenizer(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_all_models_are_proven(kind):
    prove_tokenizer(KINDS[kind])


def test_there_are_real_ones():
    assert {path.parent.name for path in REAL} >= {"sentence", "modernbert", "xlm_roberta"}


LINEAR = [r" {2,}", r"\s+", r"\w+|[^\w\s]+", "``", r"[\r\n]", r"\p{L}+", r"\d{1,3}", r"[0-9]", "a|bc"]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize("pattern", [*LINEAR, GPT2])
def test_patterns_that_need_linear_time(pattern):
    """Each on the texts that it likes least: long runs, and runs that end in nothing that it could take."""
    tokenizer = LibraryTokenizer(spoiled(pre_tokenizer=split(pattern)), TextSettings(MAX_LENGTH))
    start = time.process_time()
    for text in ("a", " ", "1", "\n", "`", "b", "a ", "ab"):
        tokenizer.count(text * (1 << 15) + "!")
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+$", "a*b", "a+b", ".*", "(?=a)", r"(a)\1", "a{1,1000}", "(((a{9,}){9,}){9,})", "a**", "x|", "[a&&b]"),
        *("(" * 5000 + "a" + ")" * 5000, r"\x61+b", "[[:alpha:]a]+", "a?", "", "^a", r"\Ga", "[" + "a" * 300),
    ],
    ids=lambda pattern: pattern[:20],
)
def test_patterns_that_may_need_more(pattern):
    refused(spoiled(pre_tokenizer=split(pattern)))
    refused(spoiled(normalizer=replace({"Regex": pattern}, "")))


@pytest.mark.parametrize(
    "normalizer",
    [
        replace({"String": "a"}, "a" * (MAX_GROWTH + 1)),
        sequence(*[replace({"String": "a"}, "aa")] * 7),
        sequence(*[replace({"Regex": "a|b"}, "ab")] * 7),
        sequence(*[{"type": "ByteLevel"}] * 7),
        sequence(replace({"String": "a"}, "aaaaa"), {"type": "Precompiled", "precompiled_charsmap": charsmap(20)}),
        {"type": "Precompiled", "precompiled_charsmap": charsmap(1 << 20)},
    ],
    ids=["long", "often", "pattern", "bytes", "both", "table"],
)
def test_texts_that_normalizers_blow_up(normalizer):
    refused(spoiled(normalizer=normalizer), "times as long", f"the limit is {MAX_GROWTH}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (spoiled(normalizer=replace({"String": ""}, "a")), ("pattern",)),
        (spoiled(normalizer={"type": "Prepend", "prepend": "a" * 300}), ("300 characters in a string",)),
        (spoiled(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), ("cut short",)),
        (spoiled(normalizer={"type": "Precompiled", "precompiled_charsmap": "/w=!"}), ("base64",)),
        (spoiled(normalizer=sequence(*[{"type": "NFC"}] * 100)), ("103 components", "64")),
        (spoiled(normalizer={"type": "Magic"}), ("normalizer", "'Magic'")),
        (spoiled(normalizer={}), ("normalizer", "None")),
        (spoiled(normalizer=[1]), ("components must be objects",)),
        (spoiled(pre_tokenizer={"type": "Delegate"}), ("pre_tokenizer", "'Delegate'")),
        (spoiled(decoder={"type": "BPE"}), ("decoder", "'BPE'")),
        (model(max_input_chars_per_word=10**6), ("1000000 characters in a word", str(MAX_WORD))),
        (model(max_input_chars_per_word="9"), ("characters in a word",)),
        (model(dropout=0.5), ("dropout",)),
        (model(vocab={"a" * (MAX_PIECE + 1): 0}), (f"{MAX_PIECE + 1} characters in a piece",)),
        (model(vocab={f"{number:01000}": number for number in range(17_000)}), ("characters in its vocabulary",)),
        (model(vocab=5), ("no tokenizer.json",)),
        (model(vocab=[5]), ("no tokenizer.json",)),
        (spoiled(added_tokens=[{"content": "a"}] * 70_000), ("70000 added tokens", "65536")),
        (spoiled(added_tokens=[{"content": "a" * 300}]), ("300 characters in an added token",)),
        (spoiled(post_processor={"type": "TemplateProcessing", "single": [1] * 20_000}), ("settings", "10000")),
        ("[]", ("no tokenizer.json",)),
        ("{}", ("no tokenizer.json",)),
        ("x", ("no tokenizer.json",)),
        ("[" * 100_000, ("no tokenizer.json",)),
        (model(unknown="[" * 3).replace('"[[["', "[" * 900 + "]" * 900), ()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_other_bombs_and_what_is_none(text, words):
    refused(text, *words)


def test_panics_of_the_library_are_ours():
    """A Rust panic is no Exception: it would pass every `except` of a caller and end the program."""
    panic = type("PanicException", (BaseException,), {})

    class Broken:
        def encode(self, *_, **__):
            raise panic("index out of bounds")

    tokenizer = LibraryTokenizer(tokenizer_json(), TextSettings(MAX_LENGTH))
    tokenizer._library = Broken()
    with pytest.raises(FormatError, match="the tokenizer inside the model fails: index out of bounds"):
        tokenizer.encode("a")


def test_an_interrupt_is_not():
    class Interrupted:
        def encode(self, *_, **__):
            raise KeyboardInterrupt

    tokenizer = LibraryTokenizer(tokenizer_json(), TextSettings(MAX_LENGTH))
    tokenizer._library = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("a")


def test_a_tokenizer_without_a_token_for_unknown_words():
    vocabulary = {"a": 0, "[CLS]": 1, "[SEP]": 2}
    text = model(vocab=vocabulary, unk_token="[NONE]")
    with pytest.raises(FormatError, match="fails: WordPiece error"):
        LibraryTokenizer(text, TextSettings(MAX_LENGTH)).encode("電")


def test_a_tokenizer_that_makes_no_tokens():
    nothing = spoiled(normalizer=replace({"Regex": r"\w|\W"}, ""), post_processor=None)
    with pytest.raises(FormatError, match="no token of the letter a"):
        LibraryTokenizer(nothing, TextSettings(MAX_LENGTH)).frame(pair=False)
