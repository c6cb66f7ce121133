"""Small tokenizers of every model and pass that tables have, compiled once."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from minibert.format.pieces import Pieces
from minibert.format.token_tables import Tokenization, token_tensors
from minibert.format.tokenizer import BYTE_LETTERS
from minibert.text.token_runner import TokenRunner
from minibert_converter.tokens.compile import Tables, compile_tokenizer
from tests.tiny import VOCABULARY, tokenizer_json

#: Words of a model that each of them fits.
VOCAB_SIZE = 400
TEXTS = (
    *("", "a great movie", "it's  not\tvery good?!", "x" * 120, "é 電影 \u0301e\u0323\u0301 [SEP] [ <s></s>"),
    *("▁a▁b  c", "각 \u1112\u1161\u11ab ﬁ ﷺ ½", "👩‍👩‍👧 🇩🇪🇫🇷 \r\n\x00\U0010ffff", "ẞ'll 's 123 a<mask> <mask>b"),
)


def _added(ids: Mapping[str, int], **rules: bool) -> list[dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": id, "content": content, **plain, **rules} for content, id in ids.items()]


def _tokenizer(model: dict[str, Any], **parts: Any) -> str:
    empty = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "added_tokens": []}
    return json.dumps(
        {"version": "1.0", "truncation": None, "padding": None, "decoder": None, **empty, **parts, "model": model}
    )


def _words() -> str:
    vocab = ["[UNK]", "[CLS]", *"abcdeé", *(f"##{letter}" for letter in "abcé"), "abc", "bad", "##ad", "movie", "good"]
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    parts = {"normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    return _tokenizer(model | {"vocab": {word: id for id, word in enumerate(vocab)}}, **parts)


def _unigram(byte_fallback: bool) -> str:
    names = [
        "<s>",
        "<unk>",
        "<mask>",
        "▁",
        *"abcdegimortvy电影",
        "▁a",
        "▁great",
        "▁mov",
        "ie",
        "good",
        "▁good",
        "\u0301",
    ]
    names += [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    model = {"type": "Unigram", "unk_id": 1, "byte_fallback": byte_fallback}
    scores = [-float(number % 7) - (0.1 if byte_fallback else 0.5) for number in range(len(names))]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    replace = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    return _tokenizer(
        model | {"vocab": [list(pair) for pair in zip(names, scores, strict=True)]},
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, strip, replace]},
        pre_tokenizer=metaspace,
        added_tokens=_added({"<s>": 0}) + _added({"<mask>": 2}, lstrip=True, normalized=True),
    )


def _charsmap(replacements: Mapping[str, str]) -> str:
    """A charsmap of sentencepiece: a double array, here with 256 places for the children of each node, and texts."""
    units, texts, nodes = [0] * 512, b"", {b"": (0, 256)}
    for key, text in replacements.items():
        data = key.encode()
        for end in range(1, len(data) + 1):
            _, base = nodes[data[: end - 1]]
            place = base ^ data[end - 1]
            if data[:end] not in nodes:
                nodes[data[:end]] = (place, len(units))
                units[place] = data[end - 1] | (place ^ len(units)) << 10
                units += [0] * 256
        place, base = nodes[data]
        units[place] |= 1 << 8
        units[base] = 1 << 31 | len(texts)
        texts += text.encode() + b"\0"
    units[0] = 256 << 10
    return base64.b64encode(struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts).decode()


def _clusters() -> str:
    names = ["<unk>", "▁", *"aefimovié", "▁mov", "ﬃ"]
    charsmap = _charsmap({"ﬁ": "fi", "e\u0301": "é", "E\u0301": "e", "\u0301": "", "ﷺ": "movie movie", "é": "éé"})
    steps = [{"type": "Precompiled", "precompiled_charsmap": charsmap}, {"type": "Lowercase"}]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    vocab = [[name, -1.5 * number] for number, name in enumerate(dict.fromkeys(names))]
    return _tokenizer(
        {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": vocab},
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
    )


def _bytes() -> str:
    merges = [["a", "b"], ["m", "o"], ["mo", "v"], ["Ġ", "g"], ["o", "o"], ["Ġg", "oo"], ["Ã", "©"]]
    vocab = {letter: number for number, letter in enumerate(BYTE_LETTERS)}
    vocab |= {"".join(pair): 256 + number for number, pair in enumerate(merges)} | {
        "<s>": 300,
        "</s>": 301,
        "<mask>": 302,
    }
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    sep = {"type": "RobertaProcessing", "sep": ["</s>", 301], "cls": ["<s>", 300]}
    return _tokenizer(
        {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": None},
        pre_tokenizer=level,
        post_processor=sep | {"trim_offsets": True, "add_prefix_space": True},
        added_tokens=_added({"<s>": 300, "</s>": 301}) + _added({"<mask>": 302}, lstrip=True, single_word=True),
    )


def _characters(byte_fallback: bool) -> str:
    merges = [["a", "b"], ["▁", "a"], ["▁", "g"], ["o", "o"], ["é", "a"]]
    names = ["<unk>", "▁", *"abcdeégmor电", *("".join(pair) for pair in merges)]
    names += [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    vocab = {name: number for number, name in enumerate(names)}
    model = {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<unk>", "fuse_unk": True}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Prepend", "prepend": "▁"}, space]}
    digits = {"type": "Digits", "individual_digits": True}
    return _tokenizer(model | {"byte_fallback": byte_fallback}, normalizer=normalizer, pre_tokenizer=digits)


_SMALL = {
    "words": _words,
    "bert": tokenizer_json,
    "unigram": lambda: _unigram(False),
    "unigram of bytes": lambda: _unigram(True),
    "clusters": _clusters,
    "bytes": _bytes,
    "characters": lambda: _characters(False),
    "characters and bytes": lambda: _characters(True),
}
NAMES = tuple(_SMALL)


@cache
def small_json(name: str) -> str:
    """The text of one of the tokenizers."""
    return _SMALL[name]()


@cache
def small_tables(name: str, vocab_size: int = VOCAB_SIZE) -> Tables:
    """Its tables."""
    found = compile_tokenizer(small_json(name), vocab_size)
    _known[found.tokenization] = found
    return found


_known: dict[Tokenization, Tables] = {}


def tensors_of(tables: Tokenization, vocab_size: int) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of tables and what they leave over of tokenizer.json; zeros for tables that are no tokenizer's."""
    dtypes = {"U8": np.uint8, "U16": np.uint16, "I32": np.int32, "F32": np.float32}
    found = _known.get(tables)
    specs = token_tensors(tables, vocab_size)
    made = {} if found is None else found.tensors
    tensors = {
        name: made[name]
        if name in made and made[name].dtype == dtypes[spec.dtype]
        else np.zeros(spec.shape, dtypes[spec.dtype])
        for name, spec in specs.items()
    }
    return tensors, tokenizer_json() if found is None else found.rest


def read_texts(
    tables: Tokenization,
    tensors: Mapping[str, np.ndarray],
    vocab_size: int,
    run: Callable[[int], None] | None = None,
) -> Iterator[list[int]]:
    """Ids of all TEXTS by tables that were proven, by the kernels or in Python, as of `TokenRunner`."""
    runner = TokenRunner(tables, tensors, run)
    for text in TEXTS:
        found = runner.tokenize([text], places=True)
        assert found.spans is not None
        assert all(0 <= id < vocab_size for id in found.ids), text
        assert all(0 <= start <= end <= len(text) for start, end in found.spans), text
        assert found.ends == [0, len(found.ids)], text
        yield found.ids
    pieces = Pieces(tables, tensors)
    for id in (0, 1, vocab_size - 1):
        assert pieces[id] is None or isinstance(pieces[id], str)


assert len(VOCABULARY) <= VOCAB_SIZE
