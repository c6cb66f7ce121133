"""Tables say what the tokenizers library says: ids, the characters and the words that tokens came from.

Whatever runs tables is compared here: see RUNNERS. Long comparisons are slow tests; the texts are in `token_texts`, the
tokenizers in `token_kinds`.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

from minibert.engine import library as compiled
from minibert.format import token_tables as tt
from minibert.format.pieces import restored_json
from minibert.reference.tokens import TokenReference, Tokens
from minibert.text.token_runner import TokenRunner
from minibert_converter.tokens.compile import Tables, compile_tokenizer
from minibert_converter.tokens.refusal import NoTables
from tests.text import token_kinds as kinds
from tests.text.token_texts import dataset_texts, gold_texts, opened, random_texts, xquad_texts

GOLDEN = sorted((Path(__file__).parents[1] / "golden/tokenizers").glob("*/tokenizer.json"))


class Runner(Protocol):
    """What runs tables."""

    def tokenize(self, text: str) -> Tokens: ...


def reference(tables: Tables) -> Runner:
    return TokenReference(tables.tokenization, tt.expanded(tables.tokenization, tables.tensors))


class Kernels:
    """Tables run by the compiled kernels."""

    def __init__(self, tables: Tables) -> None:
        tensors = tt.expanded(tables.tokenization, tables.tensors)
        self._runner = TokenRunner(tables.tokenization, tensors, compiled.kernels().run)

    def tokenize(self, text: str) -> Tokens:
        found = self._runner.tokenize([text], places=True)
        assert found.spans is not None
        assert found.words is not None
        return Tokens(found.ids, found.spans, [word for word in found.words if word is not None])


#: What makes a runner of tables, by its name.
RUNNERS: dict[str, Callable[[Tables], Runner]] = {"reference": reference, "kernels": Kernels}


@pytest.fixture(params=RUNNERS)
def run(request) -> Callable[[Tables], Runner]:
    if request.param == "kernels" and not compiled.can_compile():
        pytest.skip("needs numba, which compiles the kernels")
    return RUNNERS[request.param]


def library_of(text: str) -> Library:
    """The library without what happens after the tokens: special tokens, trimmed offsets, truncation."""
    return Library.from_str(
        json.dumps(json.loads(text) | {"post_processor": None, "truncation": None, "padding": None})
    )


def tables_of(text: str) -> Tables:
    return compile_tokenizer(text, max(library_of(text).get_vocab().values()) + 1)


def agree(library: Library, runner: Runner, texts: Iterable[str], note: str = "") -> None:
    """Fail with the first text that is read in another way."""
    texts = [*texts]
    for text, encoding in zip(texts, library.encode_batch(texts, add_special_tokens=False), strict=True):
        found = runner.tokenize(text)
        if (found.ids, found.spans, found.words) != (encoding.ids, encoding.offsets, encoding.word_ids):
            names = [library.id_to_token(id) for id in found.ids]
            pytest.fail(
                f"{note}{text!a}\n{[*zip(encoding.tokens, encoding.offsets, encoding.word_ids, strict=True)]}\n"
                f"{[*zip(names, found.spans, found.words, strict=True)]}"
            )


def compare(text: str, run: Callable[[Tables], Runner], seed: int, count: int) -> None:
    """Compare a tokenizer on random texts."""
    library = library_of(text)
    settings = {key: value for key, value in json.loads(text).items() if key != "model"}
    agree(library, run(tables_of(text)), random_texts(seed, count, library), f"{json.dumps(settings)[:2000]}\n")


# Models.


@pytest.mark.parametrize("texts", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", kinds.KINDS)
def test_random_texts(run, kind, texts):
    """So many random texts for each type of model, shared by its kinds; of the fewer a fifth in plain Python."""
    if run is reference and texts < 200_000:
        texts //= 5
    model = json.loads(kinds.KINDS[kind]())["model"]["type"]
    share = sum(json.loads(each())["model"]["type"] == model for each in kinds.KINDS.values())
    compare(kinds.KINDS[kind](), run, seed=texts, count=texts // share)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_tokenizers(run, path):
    text = path.read_text(encoding="utf-8")
    compare(text, run, seed=3, count=300)
    says_the_same(text)


def test_ties_are_broken_as_the_library_breaks_them(run):
    """Its reading of scores errs in the last bit: between ways that cost the same, that bit chooses."""
    vocab = [["<unk>", 0.0], *([letter, -3.0 - place / 7.0] for place, letter in enumerate("abcdefghij"))]
    vocab += [
        [letter * length, -4.0 - length / 9.0 - place / 17.0] for place, letter in enumerate("abc") for length in (2, 3)
    ]
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}
    text = json.dumps({**json.loads(kinds.unigram()), "normalizer": None, "model": model, "added_tokens": []})
    chance = random.Random(2)
    texts = ("".join(chance.choice("abcdefghij") * chance.randrange(1, 9) for _ in range(4)) for _ in range(3000))
    agree(library_of(text), run(tables_of(text)), texts)
    says_the_same(text)


# Normalizers, pre-tokenizers and added tokens.


def _settings() -> list[Any]:
    """Every setting; not slow: the first one of each type."""
    seen: set[str] = set()
    found = []
    for text in kinds.every_setting():
        part = json.loads(text)["normalizer"] or json.loads(text)["pre_tokenizer"]
        found.append(
            pytest.param(text, id=json.dumps(part)[:100], marks=pytest.mark.slow if part["type"] in seen else ())
        )
        seen.add(part["type"])
    return found


@pytest.mark.parametrize("text", _settings())
def test_every_setting(run, text):
    if r"\\p{L}+" in text and "Removed" in text:
        with pytest.raises(NoTables, match="no token of the letter a"):
            tables_of(text)
        return
    compare(text, run, seed=5, count=150)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 300))])
def test_random_sequences(run, seed):
    """Parts of all kinds one behind the other, with added tokens of all rules: those that are not refused."""
    chance = random.Random(seed)
    while True:
        try:
            compare(kinds.random_tokenizer(chance), run, seed=seed, count=200)
        except NoTables:
            continue
        return


def test_added_tokens_side_by_side(run):
    """What stands before a token is asked of the text, whatever a token there became."""
    settings = json.loads(kinds.character_bpe(byte_fallback=True))
    rules = {"lstrip": False, "rstrip": False, "normalized": False, "special": False}
    contents = ["\U0001f600", "x", "[M]", "do"]
    settings["added_tokens"] = [
        {"id": 700 + place, "content": content, "single_word": True, **rules} for place, content in enumerate(contents)
    ]
    text = json.dumps(settings)
    chance = random.Random(3)
    texts = ["".join(chance.choices([*contents, " ", "é", "-"], k=chance.randrange(1, 8))) for _ in range(500)]
    agree(library_of(text), run(tables_of(text)), texts)


def test_metaspace_need_not_split(run):
    settings = json.loads(kinds.unigram())
    settings["pre_tokenizer"]["split"] = False
    compare(json.dumps(settings), run, seed=7, count=100)


def test_clusters_may_become_anything(run):
    """Two spaces are not the sign for a character between spaces."""
    text = json.loads(kinds.character_bpe(byte_fallback=True))
    text["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": kinds.charsmap({"o\u0308": "  ", "u\u0308": " u ", "x": " x "}),
    }
    library = library_of(json.dumps(text))
    agree(
        library,
        run(tables_of(json.dumps(text))),
        ["o\u0308", "no\u0308x", "u\u0308u", "xo\u0308\u0301x", "u\u0308\u0323"],
    )


# What is refused.

REFUSED: dict[str, tuple[Callable[[], str], dict[str, Any]]] = {
    "regular expression": (
        kinds.byte_bpe,
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"\p{L}+|\d{1,3}"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
    ),
    "replaces": (kinds.unigram, {"normalizer": {"type": "Replace", "pattern": {"Regex": "a|b"}, "content": "c"}}),
    "two charsmaps": (
        kinds.unigram,
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Precompiled", "precompiled_charsmap": kinds.charsmap({"x": "y"})},
                    {"type": "Precompiled", "precompiled_charsmap": kinds.charsmap({"e\u0301": "y"})},
                ],
            }
        },
    ),
    "UnicodeScripts has none": (kinds.wordpiece, {"pre_tokenizer": {"type": "UnicodeScripts"}}),
    "stands behind ByteLevel": (
        kinds.byte_bpe,
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False},
                    {"type": "Digits", "individual_digits": True},
                ],
            }
        },
    ),
    "lacks a byte": (
        kinds.character_bpe,
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}},
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused(reason):
    make, changes = REFUSED[reason]
    text = json.dumps(json.loads(make()) | changes)
    with pytest.raises(NoTables, match=reason):
        tables_of(text)


def bpe(vocab: str, merges: list[list[str]], **settings: Any) -> str:
    pieces = {piece: id for id, piece in enumerate(["<unk>", *vocab.split()])}
    model = {"type": "BPE", "vocab": pieces, "merges": merges, "unk_token": "<unk>"} | settings
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bpe("a b c ab abc", [["a", "b"], ["ab", "c"]], dropout=0.1), "by chance"),
        (bpe("a b ab", [["a", "b"], ["a", "b"]]), "make one piece"),
        (bpe("a b c ab bc abc", [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]), "make one piece"),
        # The unknown text xy would be the piece xy.
        (bpe("c xy xyc", [["xy", "c"]], fuse_unk=True), "unknown characters"),
        (bpe("a <unk>a", [["<unk>", "a"]]), "unknown characters"),
        (bpe("a b ##b ab", [["a", "##b"]], continuing_subword_prefix="##"), "inside or the end of words"),
        (bpe("a b", [], unk_token=None), "neither an unknown token"),
    ],
)
def test_merges_that_are_refused(text, reason):
    with pytest.raises(NoTables, match=reason):
        tables_of(text)


@pytest.mark.parametrize(
    ("vocab", "reason"),
    [
        ([["<unk>", 0.0], ["a", -1.0], ["a<unk>", -2.0]], "part of another piece"),
        ([["<unk>", 0.0], ["a", -1.0], ["a", -2.0]], "a piece twice"),
        ([["<unk>", 0.0], ["a", -1.0], ["", -2.0]], "empty or very long"),
    ],
)
def test_unigrams_that_are_refused(vocab, reason):
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}
    with pytest.raises(NoTables, match=reason):
        tables_of(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))


def test_added_tokens_that_are_refused():
    settings = json.loads(kinds.wordpiece())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    for tokens, reason in (
        ([{"content": "New"}, {"content": "NEW"}], "another one, once normalized"),
        ([{"content": "new", "rstrip": True}, {"content": " old "}], "begin with white space and strip it"),
    ):
        made = [{"id": 900 + place, **plain, **token} for place, token in enumerate(tokens)]
        if "strip" in reason:
            made = [token | {"normalized": False} for token in made]
        with pytest.raises(NoTables, match=reason):
            tables_of(json.dumps(settings | {"added_tokens": made}))


def test_ids_of_added_tokens_are_the_librarys(run):
    """Where a token is in the vocabulary, its id there stands, whatever the list of added tokens says."""
    settings = json.loads(kinds.wordpiece())
    settings["added_tokens"][4]["id"] = 7
    text = json.dumps(settings)
    agree(library_of(text), run(tables_of(text)), ["a [MASK] b", "[MASK][SEP]"])


# What a file gives back.


def says_the_same(text: str) -> None:
    tables = tables_of(text)
    restored = restored_json(tables.rest, tables.tokenization, tables.tensors)
    if json.loads(restored) != json.loads(text):
        assert Library.from_str(restored).to_str() == Library.from_str(text).to_str()


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_tokenizer_is_restored(kind):
    says_the_same(kinds.KINDS[kind]())


# Real vocabularies and texts.


def bert(data: Path, name: str) -> str:
    """A tokenizer of one of the vocabularies that the gold ids are of."""
    if name == "uncased":
        return opened(data / "vocab/bert-base-uncased-tokenizer.json.gz")
    file = "bert-base-cased-vocab.txt" if name == "cased" else "bert-base-multilingual-cased-vocab.txt.gz"
    lines = opened(data / "vocab" / file).split("\n")
    vocab = {line: id for id, line in enumerate(lines) if line}
    settings = json.loads(bert(data, "uncased"))
    settings["model"]["vocab"] = vocab
    settings["normalizer"] |= {"lowercase": False, "strip_accents": False}
    for token in settings["added_tokens"]:
        token["id"] = vocab[token["content"]]
    settings["post_processor"] = None
    return json.dumps(settings | {"truncation": None, "padding": None})


@pytest.mark.parametrize(
    "name", ["uncased", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cased", "mcased"))]
)
def test_gold_texts(run, shared, name):
    data = shared / "data"
    text, gold = bert(data, name), gold_texts(data)
    runner, library = run(tables_of(text)), library_of(text)
    agree(library, runner, [each["text"] for each in gold])
    for each in gold:
        assert runner.tokenize(each["text"]).ids == each[name][1:-1]
    if name == "mcased":
        says_the_same(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uncased", "cased", "mcased"])
def test_texts_of_every_dataset(run, shared, name):
    text = bert(shared / "data", name)
    runner, library = run(tables_of(text)), library_of(text)
    for file, texts in dataset_texts(shared / "data"):
        agree(library, runner, texts if len(texts) < 6000 else texts[:: len(texts) // 6000 + 1], f"{file}: ")


@pytest.mark.slow
def test_a_large_byte_level_vocabulary(run, shared):
    """50,000 merges, learnt from all languages."""
    texts = [text for _, texts in dataset_texts(shared / "data") for text in texts]
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=50_256, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    library.train_from_iterator(texts, trainer)
    text = library.to_str()
    assert len(json.loads(text)["model"]["merges"]) == 50_000
    runner = run(tables_of(text))
    agree(library, runner, texts[::17])
    agree(library, runner, random_texts(9, 20_000, library))
    says_the_same(text)


@pytest.mark.slow
def test_multilingual_e5(run, shared):
    """The tokenizer of multilingual-e5-small, in the folder that MINIBERT_E5 names."""
    folder = os.environ.get("MINIBERT_E5")
    if not folder:
        pytest.skip("needs MINIBERT_E5, the folder that ../shared/models/multilingual-e5-small/build.py makes")
    text = (Path(folder) / "tokenizer.json").read_text(encoding="utf-8")
    library, runner = library_of(text), run(tables_of(text))
    for path in sorted((shared / "data/xquad").glob("*.json.gz")):
        agree(library, runner, xquad_texts(gzip.decompress(path.read_bytes()).decode()), f"{path.name}: ")
    agree(library, runner, random_texts(4, 50_000, library))
    # Pieces that are repetitions: ways to take more of them apart cost the same.
    pieces = sorted(piece.lstrip("▁") for piece in library.get_vocab())
    units = sorted({piece[: len(piece) // 2] for piece in pieces if piece and piece[: len(piece) // 2] * 2 == piece})
    chance = random.Random(1)
    before = ("" if chance.random() < 0.3 else chance.choice(pieces) + chance.choice(pieces) for _ in range(30_000))
    agree(library, runner, (each + chance.choice(units) * chance.randrange(2, 24) for each in before))
    says_the_same(text)
