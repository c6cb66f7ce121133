"""The tokenizer of a checkpoint, from tokenizer.json or built from vocab.txt."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from minibert.errors import CheckpointError
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.tokenizer import TextSettings
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from tests.checkpoints import vocabulary, write_json, write_tokenizer

TEXTS = ["A Great movie", "naïve Café?!", "你好 good", "plays\tnot\u200bbad\x00", "[MASK] [SEP]", "", "x" * 300]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_tokenizer(tmp_path, vocabulary())
    return tmp_path


def read(folder: Path, **options) -> Tokenizer:
    return Tokenizer.from_str(read_tokenizer(Folder(folder), 203, **options).json)


def test_vocab_txt_gives_special_tokens_and_segments(folder):
    encoded = read(folder).encode("a great movie", "good")
    assert encoded.tokens == ["[CLS]", "a", "great", "movie", "[SEP]", "good", "[SEP]"]
    assert encoded.type_ids == [0, 0, 0, 0, 0, 1, 1]
    assert encoded.special_tokens_mask == [1, 0, 0, 0, 1, 0, 1]


def test_vocab_txt_with_crlf_line_ends(folder):
    (folder / "vocab.txt").write_bytes("\r\n".join(vocabulary()).encode())
    assert read(folder).encode("a great movie").tokens == ["[CLS]", "a", "great", "movie", "[SEP]"]


@pytest.mark.parametrize(
    ("options", "text", "tokens"),
    [
        ({"do_lower_case": False}, "Good bad", ["[UNK]", "bad"]),
        ({"do_lower_case": True}, "Good bad", ["good", "bad"]),
        ({"strip_accents": False}, "gööd", ["[UNK]"]),
        ({"strip_accents": None}, "gööd", ["good"]),
        ({"do_lower_case": False, "strip_accents": True}, "gööd", ["good"]),
        ({"tokenize_chinese_chars": False}, "你好", ["[UNK]"]),
        ({"tokenize_chinese_chars": True}, "你好", ["[UNK]", "[UNK]"]),
    ],
)
def test_options_of_tokenizer_config(folder, options, text, tokens):
    write_json(folder / "tokenizer_config.json", options)
    assert read(folder).encode(text, add_special_tokens=False).tokens == tokens
    # The same options overrule a tokenizer.json that says otherwise.
    write_json(folder / "tokenizer_config.json", {})
    (folder / "tokenizer.json").write_text(read_tokenizer(Folder(folder), 203).json)
    write_json(folder / "tokenizer_config.json", options)
    assert read(folder).encode(text, add_special_tokens=False).tokens == tokens


def test_tokenizer_json_is_kept_but_for_truncation_and_padding(folder):
    tokenizer = read(folder)
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    assert [read(folder).encode(text).ids for text in TEXTS] == expected


@pytest.mark.parametrize(
    ("own", "config", "tokens"),
    [
        ("right", {}, ["[CLS]", "a", "great", "[SEP]"]),
        ("left", {}, ["[CLS]", "great", "movie", "[SEP]"]),
        ("right", {"truncation_side": "left"}, ["[CLS]", "great", "movie", "[SEP]"]),
        ("left", {"truncation_side": "right"}, ["[CLS]", "a", "great", "[SEP]"]),
    ],
)
def test_side_of_truncation(folder, own, config, tokens):
    tokenizer = read(folder)
    tokenizer.enable_truncation(3, direction=own)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", config)
    device = LibraryTokenizer(read_tokenizer(Folder(folder), 203).json, TextSettings(4))
    assert [device.token(id) for id in device.encode("a great movie").ids] == tokens
    assert len(device.encode("a great movie", max_length=40).ids) == 5
    write_json(folder / "tokenizer_config.json", {"truncation_side": "middle"})
    with pytest.raises(CheckpointError, match="truncation_side"):
        read_tokenizer(Folder(folder), 203)


def test_lowercasing_by_sentence_transformers(folder):
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    assert read(folder, lowercase=True).encode("Good BAD", add_special_tokens=False).tokens == ["good", "bad"]


@pytest.mark.parametrize(
    ("value", "expected"), [(128, 128), (1e30, None), (1000000000000000019884624838656, None), (None, None)]
)
def test_max_length(folder, value, expected):
    write_json(folder / "tokenizer_config.json", {"model_max_length": value})
    assert read_tokenizer(Folder(folder), 203).max_length == expected


@pytest.mark.parametrize("kind", ["template", "bert", "sequence"])
def test_inputs_without_token_types(folder, kind):
    tokenizer = read(folder)
    wanted = tokenizer.encode("a great movie", "good")
    assert set(wanted.type_ids) == {0, 1}
    bert = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    if kind != "template":
        tokenizer.post_processor = bert if kind == "bert" else processors.Sequence([processors.ByteLevel(), bert])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"model_input_names": ["input_ids", "attention_mask"]})
    made = read(folder).encode("a great movie", "good")
    assert (made.tokens, made.ids, set(made.type_ids)) == (wanted.tokens, wanted.ids, {0})
    assert read(folder).encode("good").tokens == ["[CLS]", "good", "[SEP]"]


def test_added_tokens(folder):
    write_tokenizer(folder, vocabulary(200))
    write_json(folder / "added_tokens.json", {"<name>": 200})
    added = {"201": {"content": "<url>", "special": True}, "5": {"content": "a", "special": False}}
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": added})
    with pytest.raises(CheckpointError, match=r"<url>.*should have the id 201"):  # nobody says who is 200
        read(folder)
    write_json(folder / "tokenizer_config.json", {})
    assert read(folder).encode("<name> good", add_special_tokens=False).ids[0] == 200
    added["200"] = {"content": "<user>", "special": True}
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": added})
    assert read(folder).encode("good<url>", add_special_tokens=False).tokens == ["good", "<url>"]
    notes = read_tokenizer(Folder(folder), 203).notes
    assert any("added_tokens.json is not read" in note and "<name>" in note for note in notes)


def test_special_tokens_of_other_names(folder):
    tokens = vocabulary()
    tokens[2], tokens[3] = "<s>", "</s>"
    write_tokenizer(folder, tokens)
    with pytest.raises(CheckpointError, match=r"vocab\.txt: lacks the special tokens \[SEP\], \[CLS\]"):
        read(folder)
    write_json(folder / "special_tokens_map.json", {"cls_token": {"content": "<s>"}, "sep_token": "</s>"})
    assert read(folder).encode("good").tokens == ["<s>", "good", "</s>"]


def test_missing_tokenizer(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"no tokenizer; looked for tokenizer\.json, .*a BertTokenizer is made of: vocab\.txt"
    ):
        read_tokenizer(Folder(tmp_path), 203)


def test_ids_without_an_embedding_are_refused(folder):
    with pytest.raises(CheckpointError, match=r"'\[unused\d+\]' the id 202.*only 202 rows"):
        read_tokenizer(Folder(folder), 202)


def test_empty_vocabulary(folder):
    Tokenizer(models.WordPiece({}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="empty vocabulary"):
        read_tokenizer(Folder(folder), 203)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version":"9"}', b'{"model":{"type":"Nothing"}}'])
def test_broken_tokenizer_json(folder, content):
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        read_tokenizer(Folder(folder), 203)


@pytest.mark.parametrize(
    "config",
    [
        {"do_lower_case": "yes"},
        {"model_max_length": "long"},
        {"model_max_length": 0},
        {"cls_token": 5},
        {"cls_token": None},
        {"unk_token": {"text": "x"}},
        {"added_tokens_decoder": {"x": 1}},
        {"added_tokens_decoder": []},
    ],
)
def test_broken_tokenizer_config(folder, config):
    write_json(folder / "tokenizer_config.json", config)
    with pytest.raises(CheckpointError):
        read_tokenizer(Folder(folder), 203)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[CLS]\n"])
def test_broken_vocab_txt(folder, content):
    (folder / "vocab.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        read_tokenizer(Folder(folder), 203)


@pytest.mark.parametrize("vocab", ["uncased", "cased", "mcased"])
def test_real_vocabularies_give_the_gold_ids(shared, tmp_path, vocab):
    (tmp_path / "vocab.txt").write_bytes(real_vocabulary(shared, vocab))
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": vocab == "uncased"})
    built = read_tokenizer(Folder(tmp_path), 119_547).json
    cases = gold_cases(shared)
    assert ids_of(built, cases) == [case[vocab] for case in cases]
    (tmp_path / "tokenizer.json").write_text(built, encoding="utf-8")
    (tmp_path / "vocab.txt").unlink()
    assert ids_of(read_tokenizer(Folder(tmp_path), 119_547).json, cases) == [case[vocab] for case in cases]


def test_the_real_tokenizer_json_gives_the_gold_ids(shared, tmp_path):
    packed = shared / "data/vocab/bert-base-uncased-tokenizer.json.gz"
    (tmp_path / "tokenizer.json").write_bytes(gzip.decompress(packed.read_bytes()))
    cases = gold_cases(shared)
    assert ids_of(read_tokenizer(Folder(tmp_path), 30_522).json, cases) == [case["uncased"] for case in cases]


def real_vocabulary(shared: Path, vocab: str) -> bytes:
    name = {"mcased": "multilingual-cased"}.get(vocab, vocab)
    source = shared / f"data/vocab/bert-base-{name}-vocab.txt"
    packed = source.with_name(f"{source.name}.gz")
    return source.read_bytes() if source.is_file() else gzip.decompress(packed.read_bytes())


def gold_cases(shared: Path) -> list[dict]:
    with gzip.open(shared / "data/tokenization/gold_ids.jsonl.gz", "rt", encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    assert len(cases) == 774
    return cases


def ids_of(tokenizer: str, cases: list[dict]) -> list[list[int]]:
    return [encoding.ids for encoding in Tokenizer.from_str(tokenizer).encode_batch([case["text"] for case in cases])]


BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = ["<s>", "<pad>", "</s>", "<unk>", *BYTES, "Ġa", "Ġm", "Ġmo", "vi", "Ġmovi", "Ġmovie", "<mask>"]
MERGES = "#version: 0.2\nĠ a\nĠ m\nĠm o\nv i\nĠmo vi\nĠmovi e\n"


@pytest.fixture
def byte_level(tmp_path) -> Path:
    write_json(tmp_path / "vocab.json", {token: index for index, token in enumerate(BYTE_LEVEL)})
    (tmp_path / "merges.txt").write_text(MERGES, encoding="utf-8")
    return tmp_path


def test_vocab_json_and_merges_give_byte_level_bpe(byte_level):
    made = read_tokenizer(Folder(byte_level), 300, usual="RobertaTokenizer")
    assert made.notes == ("built the tokenizer from vocab.json and merges.txt, as there is no tokenizer.json",)
    tokenizer = Tokenizer.from_str(made.json)
    encoded = tokenizer.encode("a movie <mask>", "é")
    assert encoded.tokens == ["<s>", "a", "Ġmovie", " <mask>", "</s>", "</s>", "Ã", "©", "</s>"]
    assert set(encoded.type_ids) == {0}
    assert encoded.ids[0] == 0
    assert tokenizer.decode(tokenizer.encode("naïve 你好 😀").ids) == "naïve 你好 😀"
    assert tokenizer.encode("").tokens == ["<s>", "</s>"]


def test_byte_level_settings_of_the_checkpoint(byte_level):
    write_json(byte_level / "tokenizer_config.json", {"add_prefix_space": True, "mask_token": {"content": "<mask>"}})
    tokenizer = Tokenizer.from_str(read_tokenizer(Folder(byte_level), 300, usual="RobertaTokenizer").json)
    assert tokenizer.encode("movie <mask>").tokens == ["<s>", "Ġmovie", "Ġ", "<mask>", "</s>"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("merges.txt", "a b c\n", "line 1 is not two tokens"),
        ("merges.txt", "q zz\n", "do not go together"),
        ("vocab.json", '{"a": "b"}', "must map tokens to their ids"),
        ("vocab.json", json.dumps({str(index): index for index in range(9)}), "lacks the special tokens <unk>"),
        ("vocab.json", "[]", "vocab.json"),
    ],
)
def test_broken_byte_level_files(byte_level, name, content, message):
    (byte_level / name).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        read_tokenizer(Folder(byte_level), 300, usual="RobertaTokenizer")


def test_mpnet_words_with_its_own_special_tokens(tmp_path):
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "good", "movie", "<mask>"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    tokenizer = Tokenizer.from_str(read_tokenizer(Folder(tmp_path), 8, usual="MPNetTokenizer").json)
    assert tokenizer.encode("Good movie", "good").tokens == ["<s>", "good", "movie", "</s>", "</s>", "good", "</s>"]


@pytest.mark.parametrize("content", [b"", b"\x0a\x0e", b"\xff" * 40, b"\x08\x01", b"\x0a\x02\x08\x01"])
def test_a_broken_sentencepiece_model(tmp_path, content):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"sentencepiece\.bpe\.model"):
        read_tokenizer(Folder(tmp_path), 8, usual="XLMRobertaTokenizer")
