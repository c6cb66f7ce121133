from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from minibert import FormatError, InputError
from minibert.text.characters import well_formed
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.tokenizer import MAX_CHARACTERS, TextSettings, Tokenizer, longest_first
from tests.text.makers import MAKERS, Maker
from tests.tiny import MAX_LENGTH, VOCABULARY, tokenizer_json

#: Pieces that make trouble where a text is cut: added tokens, accents apart from their letters, control characters.
PIECES = [
    "a",
    "great",
    " ",
    "  ",
    "\n",
    ".",
    "[MASK]",
    "[MA",
    "e\u0301",
    "\u0301",
    "\x00",
    "\u200b",
    "電",
    "😀",
    "##s",
    "bad-x",
]


def library(text: str = "") -> Library:
    plain = Library.from_str(text or tokenizer_json())
    plain.no_padding()
    plain.no_truncation()
    return plain


def byte_level_bpe() -> str:
    """As RoBERTa's: byte-level pieces, a prefix space, <s> A </s></s> B </s>."""
    tokenizer = Library(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "[MASK]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a great movie", "great bad greatest movies", "not a bad one"] * 5, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=True)
    return tokenizer.to_str()


def unigram() -> str:
    """As XLM-RoBERTa's: NFKC, pieces that start with ▁, <s> A </s></s> B </s>."""
    tokenizer = Library(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<s>", "</s>", "<unk>", "[MASK]"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(["a great movie", "great bad greatest movies", "not a bad one"] * 20, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer.to_str()


KINDS = {"wordpiece": tokenizer_json(), "bpe": byte_level_bpe(), "unigram": unigram()}


@pytest.fixture(scope="module", params=MAKERS)
def make(request) -> Maker:
    """Tokenizers made in each way, of which each kind is made once."""
    made: dict[tuple[str, TextSettings], Tokenizer] = {}

    def maker(text: str, settings: TextSettings) -> Tokenizer:
        if (text, settings) not in made:
            made[text, settings] = MAKERS[request.param](text, settings)
        return made[text, settings]

    return maker


@pytest.fixture(scope="module", params=[name for name in MAKERS if name != "tables in Python"])
def fast(request) -> Tokenizer:
    """One for texts of a megabyte, which takes plain Python a quarter of a minute if all of it is one word."""
    return MAKERS[request.param](tokenizer_json(), TextSettings(MAX_LENGTH))


@pytest.fixture(scope="module")
def tokenizer(make) -> Tokenizer:
    return make(tokenizer_json(), TextSettings(MAX_LENGTH))


def test_ids_are_the_librarys_and_its_padding_is_off(tokenizer):
    assert tokenizer.encode("a great movie").ids == library().encode("a great movie").ids
    assert [VOCABULARY[i] for i in tokenizer.encode("A great movie!").ids] == [
        "[CLS]",
        "a",
        "great",
        "movie",
        "!",
        "[SEP]",
    ]


def test_pairs_have_types_and_single_texts_need_none(make, tokenizer):
    assert tokenizer.encode("a great movie").type_ids is None
    pair = tokenizer.encode("a great", "movie")
    assert pair.type_ids == [0, 0, 0, 0, 1, 1]
    assert make(tokenizer_json(), TextSettings(9, token_types=0)).encode("a", "b").type_ids is None


def early(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer; one of the library's reads even short texts by their prefixes."""
    if isinstance(tokenizer, LibraryTokenizer):
        tokenizer._whole, tokenizer._margin = 8, 8
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    pair=st.none() | st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    limit=st.integers(6, 20),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncation_is_the_librarys_however_early_a_text_is_cut(make, kind, text, pair, limit):
    """What a prefix gives must be what the whole text would have given."""
    ours = early(make(KINDS[kind], TextSettings(100)))
    plain = library(KINDS[kind])
    whole = plain.encode(text, pair)
    plain.enable_truncation(limit)
    expected = plain.encode(text, pair)
    encoded = ours.encode(text, pair, limit)
    assert encoded.ids == expected.ids
    assert encoded.truncated == (len(whole) > limit)
    if pair is not None:
        assert encoded.type_ids == expected.type_ids


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    pair=st.lists(st.sampled_from(PIECES), max_size=9).map("".join),
    limit=st.integers(6, 20),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_text_alone_is_cut_as_the_library_cuts_it(make, kind, text, pair, limit):
    ours = early(make(KINDS[kind], TextSettings(100)))
    plain = library(KINDS[kind])
    whole = plain.encode(text, pair)
    plain.enable_truncation(limit, strategy="only_first")
    try:
        expected = plain.encode(text, pair)
    except Exception:  # of the library: the second text leaves no room
        with pytest.raises(InputError, match="stays whole"):
            ours.encode(text, pair, limit, only_first=True)
        return
    encoded = ours.encode(text, pair, limit, only_first=True)
    assert encoded.ids == expected.ids
    assert encoded.type_ids == expected.type_ids
    assert encoded.truncated == (len(whole) > limit)


@pytest.mark.parametrize("direction", ["left", "right"])
def test_the_side_that_the_tokenizer_cuts(make, direction):
    source = library()
    source.enable_truncation(9, direction=direction)
    ours = make(source.to_str(), TextSettings(6))
    words = [VOCABULARY[i] for i in ours.encode("a great movie and one bad actor").ids]
    expected = {"right": "[CLS] a great movie and [SEP]", "left": "[CLS] and one bad actor [SEP]"}
    assert words == expected[direction].split()


@pytest.mark.parametrize(
    "text", ["great movie " * 87_000, "a" * 1_000_000, " " * 1_000_000 + "good", "電影" * 170_000, "\x00" * 1_000_000]
)
def test_a_megabyte_of_text_is_exact(fast, text):
    encoded = fast.encode(text)
    plain = library()
    plain.enable_truncation(MAX_LENGTH)
    assert encoded.ids == plain.encode(text).ids


def test_ordinary_text_is_not_read_much_beyond_what_is_kept(monkeypatch):
    tokenizer = LibraryTokenizer(tokenizer_json(), TextSettings(MAX_LENGTH))
    text = "a great movie and a bad one. " * 40_000
    read, encode = [], tokenizer._encode
    monkeypatch.setattr(tokenizer, "_encode", lambda *texts, **how: read.append(len(texts[0])) or encode(*texts, **how))
    assert len(tokenizer.encode(text).ids) == MAX_LENGTH
    assert 0 < sum(read) <= 4096  # characters, of more than a million


def test_words_without_end_stop_at_the_limit(fast):
    encoded = fast.encode("a" * (MAX_CHARACTERS + 1) + " good")
    assert [VOCABULARY[i] for i in encoded.ids] == ["[CLS]", "[UNK]", "[SEP]"]
    assert encoded.truncated


def test_surrogates_count_as_what_utf8_makes_of_them(tokenizer):
    assert well_formed("a\ud800b") == "a\ufffdb"
    assert well_formed("\ud83d\ude00") == "😀"
    assert tokenizer.encode("good \ud800 movie").ids == tokenizer.encode("good \ufffd movie").ids
    assert tokenizer.encode("good", "\udfff movie").ids == tokenizer.encode("good", "\ufffd movie").ids
    long = "great \udc00 movie " * 50_000
    assert tokenizer.encode(long).ids == tokenizer.encode(long.replace("\udc00", "\ufffd")).ids


def test_empty_text(tokenizer):
    assert [VOCABULARY[i] for i in tokenizer.encode("").ids] == ["[CLS]", "[SEP]"]
    assert [VOCABULARY[i] for i in tokenizer.encode("", "").ids] == ["[CLS]", "[SEP]", "[SEP]"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [name for name in MAKERS if name != "tables in Python"])
def test_count_is_what_the_library_counts_in_pieces_too(way, kind):
    ours, plain = MAKERS[way](KINDS[kind], TextSettings(8)), library(KINDS[kind])
    for text in ("", "a great movie", "a great movie, and  a\nbad one. " * 5_000, "greatest" * 20_000):
        assert ours.count(text) == len(plain.encode(text))
    assert ours.count("a great", "bad movie") == len(plain.encode("a great", "bad movie"))


def test_longest_first_shares_as_transformers_does():
    assert longest_first(3, 4, 10) == (3, 4)
    assert longest_first(100, 4, 10) == (6, 4)
    assert longest_first(4, 100, 10) == (4, 6)
    assert longest_first(100, 90, 9) == (5, 4)
    assert longest_first(90, 100, 9) == (4, 5)
    assert longest_first(50, 50, 9) == (4, 5)


def test_no_room_beside_the_special_tokens(tokenizer):
    with pytest.raises(InputError, match="no room"):
        tokenizer.encode("a great movie", max_length=2)
    with pytest.raises(InputError, match="at least 5"):
        tokenizer.check_max_length(4)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', tokenizer_json().replace("WordPiece", "Word")])
def test_a_broken_tokenizer_is_a_broken_file(text):
    with pytest.raises(FormatError, match="tokenizer inside the model"):
        LibraryTokenizer(text, TextSettings(8))


def test_the_ids_of_real_texts_are_the_gold_ones(make, shared):
    source = gzip.decompress((shared / "data/vocab/bert-base-uncased-tokenizer.json.gz").read_bytes()).decode()
    whole, cut = make(source, TextSettings(100_000)), make(source, TextSettings(32))
    plain = library(source)
    plain.enable_truncation(32)
    for line in gzip.decompress((shared / "data/tokenization/gold_ids.jsonl.gz").read_bytes()).splitlines():
        example = json.loads(line)
        assert whole.encode(example["text"]).ids == example["uncased"]
        assert cut.encode(example["text"]).ids == plain.encode(example["text"]).ids


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(st.sampled_from(PIECES), max_size=40).map("".join), budget=st.none() | st.integers(1, 12))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_places_and_names_of_tokens_are_the_librarys(make, kind, text, budget):
    found = make(KINDS[kind], TextSettings(100)).content(text, budget)
    encoding = library(KINDS[kind]).encode(text, add_special_tokens=False)
    assert found.truncated == (budget is not None and len(encoding) > budget)
    end = budget or len(encoding)
    assert (found.ids, found.offsets, found.words) == (
        encoding.ids[:end],
        encoding.offsets[:end],
        encoding.word_ids[:end],
    )
    unknown = make(KINDS[kind], TextSettings(100)).unknown_id
    for id, name, expected in zip(found.ids, found.tokens, encoding.tokens, strict=False):
        assert id == unknown or name == expected.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_decoding_are_the_librarys(make, kind):
    ours, plain = make(KINDS[kind], TextSettings(100)), library(KINDS[kind])
    ids = [*range(len(plain.get_vocab())), len(plain.get_vocab())]
    assert [ours.token(id) for id in ids] == [plain.id_to_token(id) for id in ids]
    names = [*plain.get_vocab(), "nothing of the kind", "", "電", "\ud800"]
    assert [ours.token_id(name) for name in names[:-1]] == [plain.token_to_id(name) for name in names[:-1]]
    assert ours.token_id(names[-1]) is None
    for text in ("a great movie, isn't it? [MASK] bad-x . do not", "", "電影 greatest"):
        encoded = ours.encode(text).ids
        for skip in (False, True):
            assert ours.decode(encoded, skip) == plain.decode(encoded, skip_special_tokens=skip)
    assert ours.library.encode("a great movie").ids == plain.encode("a great movie").ids
    for pair in (False, True):
        assert ours.special_tokens(pair) == plain.num_special_tokens_to_add(pair)
