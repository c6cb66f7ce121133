"""Vocabularies cut to texts: same tokens where they survive, whatever the tokenizer; and the network cut to match."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from minibert.errors import InputError, UnsupportedError
from minibert.format import read_model, write_model
from minibert_converter.calibration.tokens import tokenizer_of
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from minibert_converter.export import WORDS, export
from minibert_converter.network import Network
from minibert_converter.passes.base import Outcome
from minibert_converter.passes.embeddings.tokenizer_cut import cut_tokenizer
from minibert_converter.passes.embeddings.vocabulary import ranked_tokens, trim_vocabulary
from minibert_converter.recipe import Context, Recipe, run
from tests.checkpoints import write_json
from tests.converter.networks import OTHER_TEXTS, TEXTS, answers, compress_embeddings, ids_of, quantize, read_network
from tests.converter.test_tokenizer import gold_cases, real_vocabulary
from tests.families import golden, write_family

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Naïve cafés in São Paulo serve crème brûlée; prices: 12.50 €!",
    "Tokenizers tokenize tokens that tokenization tokenized.",
    "日本語のテキストもあります。 и русский текст тоже есть",
    "An unrelated sentence about quantum chromodynamics and hydrogen bonds",
    "to be or not to be, that is the question 🤔🤔",
] * 3


def byte_pairs() -> str:
    """A tokenizer as RoBERTa has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer.to_str()


def unigram() -> str:
    """A tokenizer as XLM-RoBERTa has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, max_piece_length=8
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    template = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)])
    tokenizer.post_processor = processors.Sequence([template])
    return tokenizer.to_str()


KINDS = {"byte-level BPE": byte_pairs, "unigram": unigram}


def tokens_of(tokenizer: str, texts: list[str]) -> list[list[str]]:
    return [encoding.tokens for encoding in Tokenizer.from_str(tokenizer).encode_batch(texts)]


def check_cut(before: str, some: list[str], others: list[str]) -> tuple[str, list[int]]:
    """Texts whose tokens all survive are cut as they were, `some` among them."""
    whole = Tokenizer.from_str(before)
    whole.no_padding()
    after, kept = cut_tokenizer(before, {id for one in whole.encode_batch(some) for id in one.ids})
    small = Tokenizer.from_str(after)
    small.no_padding()
    assert kept == sorted(kept)
    assert small.get_vocab_size() == len(kept) < whole.get_vocab_size()
    assert small.get_vocab() == {whole.id_to_token(old): place for place, old in enumerate(kept)}
    assert [one.tokens for one in small.encode_batch(some)] == [one.tokens for one in whole.encode_batch(some)]
    vocabulary, surviving = small.get_vocab(), 0
    for one, other in zip(whole.encode_batch(others), small.encode_batch(others), strict=True):
        if all(token in vocabulary for token in one.tokens):
            surviving += 1
            assert other.tokens == one.tokens
            assert other.type_ids == one.type_ids
            assert [kept[id] for id in other.ids] == one.ids
    assert surviving > len(others) // 10
    return after, kept


@pytest.mark.parametrize("vocab", ["uncased", "cased", "mcased"])
def test_real_vocabularies(shared, tmp_path, vocab):
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": vocab == "uncased"})
    (tmp_path / "vocab.txt").write_bytes(real_vocabulary(shared, vocab))
    tokenizer = read_tokenizer(Folder(tmp_path), 119_547).json
    texts = [case["text"] for case in gold_cases(shared)]
    after, kept = check_cut(tokenizer, texts[::2], texts)
    assert len(kept) < {"uncased": 12_000, "cased": 12_000, "mcased": 30_000}[vocab]
    check_cut(tokenizer, texts, texts)
    unknown = [tokens.count("[UNK]") for tokens in tokens_of(tokenizer, texts)]
    assert [tokens.count("[UNK]") for tokens in tokens_of(after, texts)] == unknown


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_tokenizers(kind):
    before = KINDS[kind]()
    words = " ".join(SENTENCES[:6]).split()
    texts = SENTENCES[:6] + words + [" ".join(pair) for pair in zip(words, words[7:], strict=False)]
    for some in (SENTENCES[:1], SENTENCES[2:4], words[::3]):
        check_cut(before, some, texts)


def test_the_price_of_unknown_characters_stays():
    """Two unlikely pieces around the snowman are cheaper than it alone: an unknown costs 10 more than any piece."""
    pieces = [("<unk>", 0.0), ("▁", 0.0), ("QQQ", -20.0), ("xyz", 0.0), ("xy", -14.0), ("z☃", -14.0), ("w", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    texts = ["xyz☃w", "xyzw", "☃"]
    before = tokens_of(tokenizer.to_str(), texts)
    assert before[:2] == [["▁", "xy", "z☃", "w"], ["▁", "xyz", "w"]]
    wanted = {id for one in tokenizer.encode_batch(texts) for id in one.ids}
    after, kept = cut_tokenizer(tokenizer.to_str(), wanted)
    assert tokens_of(after, texts) == before
    assert kept == list(range(7))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_could_be_spelled_still_can(kind):
    before = KINDS[kind]()
    after, _kept = cut_tokenizer(before, set())
    assert Tokenizer.from_str(after).get_vocab_size() < Tokenizer.from_str(before).get_vocab_size() / 1.2
    for text in SENTENCES[:6]:
        unknown = tokens_of(before, [text])[0].count("<unk>")
        assert tokens_of(after, [text])[0].count("<unk>") == unknown


def test_special_tokens_get_their_new_ids():
    before = json.loads(byte_pairs())
    model = before["model"]
    ends = {token: id for id, token in enumerate([*list(model["vocab"])[5:], *SPECIAL])}  # special tokens last
    model["vocab"] = ends
    for token in before["added_tokens"]:
        token["id"] = ends[token["content"]]
    before["post_processor"]["sep"][1], before["post_processor"]["cls"][1] = ends["</s>"], ends["<s>"]
    before["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": ends["<pad>"],
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    after, kept = check_cut(json.dumps(before), SENTENCES[:1], SENTENCES)
    small = Tokenizer.from_str(after)
    assert small.padding is not None
    assert small.padding["pad_id"] == small.token_to_id("<pad>") == len(kept) - 4
    assert small.encode("a").ids == [len(kept) - 5, small.token_to_id("a"), len(kept) - 3]


def test_merges_written_as_strings():
    before = json.loads(byte_pairs())
    before["model"]["merges"] = [" ".join(merge) for merge in before["model"]["merges"]]
    assert cut_tokenizer(json.dumps(before), set())[1] == cut_tokenizer(byte_pairs(), set())[1]
    check_cut(json.dumps(before), SENTENCES[:2], SENTENCES)


@pytest.mark.parametrize(
    "model",
    [{"type": "Mystery", "vocab": {}}, {"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "</w>"}],
)
def test_tokenizers_that_cannot_be_cut(model):
    tokenizer = {"model": model, "added_tokens": [], "post_processor": None}
    with pytest.raises(UnsupportedError, match="cannot be cut"):
        cut_tokenizer(json.dumps(tokenizer), set())


# The network.


@pytest.fixture
def network(tmp_path) -> Network:
    return read_network(tmp_path / "checkpoint")


FEW = [text for text in TEXTS if "movie" in text or "bank" in text][:3]


def check_network(network: Network, whole: Network, texts: list[str], atol: float = 0.0) -> None:
    np.testing.assert_allclose(
        answers(network, ids_of(network, texts)), answers(whole, ids_of(whole, texts)), rtol=0, atol=atol
    )


def test_answers_stay_the_same(network, tmp_path):
    whole = Network(**{**vars(network), "tables": dict(network.tables)})
    report = trim_vocabulary(network, FEW).details
    assert report["tokens_before"] == 203
    assert report["tokens_after"] == network.architecture.vocab_size == len(network.tables[WORDS]) < 203
    assert 0 < report["used"] < report["tokens_after"]
    check_network(network, whole, FEW)
    size = write_model(tmp_path / "model.safetensors", *export(network))
    assert size < write_model(tmp_path / "whole.safetensors", *export(whole))
    vocabulary = Tokenizer.from_str(read_model(tmp_path / "model.safetensors").tokenizer_json()).get_vocab()
    assert len(vocabulary) == report["tokens_after"]


@pytest.mark.parametrize("form", ["int8", "int4", "codebook"])
def test_compact_words_can_be_cut(network, form):
    compress_embeddings(network, form, texts=TEXTS)
    quantize(network, texts=TEXTS)
    whole = Network(**{**vars(network), "tables": dict(network.tables)})
    trim_vocabulary(network, FEW)
    check_network(network, whole, FEW)


def test_prompts_are_read_too(network):
    plain = Network(**{**vars(network), "tables": dict(network.tables)})
    trim_vocabulary(plain, FEW)
    network.task = replace(network.task, prompts={"question": "river: "})
    trim_vocabulary(network, FEW)
    words = [Tokenizer.from_str(one.tokenizer_json).get_vocab() for one in (plain, network)]
    assert "river" not in words[0]
    assert "river" in words[1]


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("quantized", [False, True])
def test_the_head_of_a_fill_mask_model_is_cut_too(tmp_path, family, quantized):
    """Tied to the words or not: its answers are those of the words that are left."""
    folder = write_family(tmp_path / "checkpoint", family, "fill-mask", golden()[family])
    network = read_checkpoint(folder, "fill-mask")
    if quantized:
        quantize(network, texts=TEXTS)
    tokenizer = Tokenizer.from_str(network.tokenizer_json)
    before = answers(network, ids_of(network, FEW))
    trim_vocabulary(network, FEW)
    small = Tokenizer.from_str(network.tokenizer_json).get_vocab()
    assert network.architecture.vocab_size == len(small) < before.shape[1]
    after = answers(network, ids_of(network, FEW))
    columns = [tokenizer.token_to_id(token) for token in sorted(small, key=small.__getitem__)]
    np.testing.assert_allclose(after, before[:, columns], rtol=0, atol=1e-5)


def test_no_texts(network):
    with pytest.raises(InputError, match="there are none"):
        trim_vocabulary(network, [])


def test_cut_again_to_the_same_texts_nothing_changes(network):
    trim_vocabulary(network, FEW)
    again = Network(**vars(network))
    report = trim_vocabulary(again, FEW).details
    assert report["tokens_before"] == report["tokens_after"]
    assert json.loads(again.tokenizer_json) == json.loads(network.tokenizer_json)
    check_network(again, network, OTHER_TEXTS)


# The most frequent.


def run_pass(network: Network, table: dict[str, object], texts: list[str] | None) -> Outcome:
    return run(Recipe.from_json({"pass": [table]}), network, Context(texts))[-1].outcome


def test_the_most_frequent_words_stay_and_what_spells_the_others(tmp_path):
    network = read_network(tmp_path / "made")
    before = tokenizer_of(network)
    texts = ["the bank the bank the", "the river"]
    outcome = run_pass(network, {"vocab_size": 2}, texts)
    assert outcome.details["used"] == 5  # with the special tokens
    after = tokenizer_of(network)
    names = [after.token(i) for i in after.encode("the bank river").ids]
    assert names[:2] == ["[CLS]", "the"]
    assert "river" not in names
    assert "[UNK]" not in names
    assert len(before.encode("the bank river").ids) < len(names)


def test_more_words_than_the_texts_use_are_the_first_of_the_others(tmp_path):
    network = read_network(tmp_path / "made")
    assert ranked_tokens({7: 1, 3: 5, 4: 5}, 9) == [3, 4, 7, 0, 1, 2, 5, 6, 8]
    before, size = tokenizer_of(network), network.architecture.vocab_size
    outcome = run_pass(network, {"vocab_size": size - 20}, ["the bank"])
    assert size - 20 <= outcome.details["tokens_after"] < size
    after = tokenizer_of(network)
    first, last = (before.token(one) for one in (90, size - 1))
    assert after.token(after.encode(first).ids[1]) == first
    assert last not in [after.token(one) for one in range(outcome.details["tokens_after"])]


def test_characters_that_no_text_has_may_go(tmp_path):
    texts = ["the bank the bank the"]
    sizes = {}
    for characters in ("all", "seen"):
        network = read_network(tmp_path / characters)
        network.tokenizer_json = network.tokenizer_json.replace('"##ed"', '"##é"')
        run_pass(network, {"vocab_size": 10, "characters": characters}, texts)
        tokenizer = tokenizer_of(network)
        assert [tokenizer.token(i) for i in tokenizer.encode("xyz!").ids[1:-1]] == ["x", "##y", "##z", "!"]  # ASCII
        sizes[characters] = network.architecture.vocab_size
    assert sizes["seen"] == sizes["all"] - 1


def test_a_vocabulary_by_frequency_needs_texts(tmp_path):
    with pytest.raises(InputError, match="vocab_size 5: which words are frequent"):
        run_pass(read_network(tmp_path / "made"), {"vocab_size": 5}, None)
