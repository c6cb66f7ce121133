"""Tokenizers of all kinds that tables can hold: models trained here, and every setting of every part."""

from __future__ import annotations

import base64
import itertools
import json
import random
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tests.text.token_texts import WORDS, random_texts

BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")


@cache
def corpus() -> tuple[str, ...]:
    """Texts on which the small models are trained."""
    chance = random.Random(5)
    lines = [" ".join(chance.choices(WORDS, k=8)) for _ in range(300)]
    return (*lines, *random_texts(11, 150))


def train(library: Library, trainer: trainers.Trainer, texts: Iterable[str] = ()) -> dict[str, Any]:
    """The settings of a tokenizer whose model is trained."""
    library.train_from_iterator(texts or corpus(), trainer)
    return json.loads(library.to_str())


@cache
def wordpiece() -> str:
    """As BERT's, trained by the library."""
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False, min_frequency=0)
    return json.dumps(train(library, trainer))


@cache
def unigram(byte_fallback: bool = False) -> str:
    """Pieces with scores, trained by the library; with pieces for bytes, if wanted."""
    library = Library(models.Unigram())
    library.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=3000, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    settings = train(library, trainer)
    if byte_fallback:
        settings["model"]["vocab"] += [[f"<0x{byte:02X}>", -9.5] for byte in range(256)]
        settings["model"]["byte_fallback"] = True
    return json.dumps(settings)


@cache
def byte_bpe(prefix: bool = False, **settings: Any) -> str:
    """Byte-level BPE as GPT-2's and RoBERTa's."""
    library = Library(models.BPE(**settings))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<s>", "</s>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return json.dumps(train(library, trainer))


@cache
def character_bpe(byte_fallback: bool = False, **settings: Any) -> str:
    """BPE whose pieces are characters, as sentencepiece's."""
    library = Library(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **settings))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    names = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    # A small alphabet, so that many characters are unknown, and neighbours too.
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", *names], limit_alphabet=150, show_progress=False
    )
    made = train(library, trainer)
    made["added_tokens"] = [token for token in made["added_tokens"] if token["content"] not in names]
    return json.dumps(made)


KINDS = {
    "wordpiece": wordpiece,
    "unigram": unigram,
    "unigram, bytes": lambda: unigram(byte_fallback=True),
    "byte-level BPE": byte_bpe,
    "byte-level BPE, prefix": lambda: byte_bpe(prefix=True),
    "byte-level BPE, whole words": lambda: byte_bpe(ignore_merges=True),
    "BPE": character_bpe,
    "BPE, fused": lambda: character_bpe(fuse_unk=True),
    "BPE, bytes": lambda: character_bpe(byte_fallback=True),
    "BPE, whole words": lambda: character_bpe(ignore_merges=True, fuse_unk=True),
}


def charsmap(keys: dict[str, str]) -> str:
    """A charsmap as sentencepiece makes them, of texts and what stands for each."""
    texts, places = b"", {}
    for value in keys.values():
        if value not in places:
            places[value] = len(texts)
            texts += value.encode() + b"\0"
    trie: dict[int, Any] = {}
    for key, value in keys.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[-1] = places[value]
    # A double array: each node's children lie at its base, exclusive or with their bytes; 0 is the value.
    units, taken = {0: 0}, {0}
    queue = [(0, trie)]
    following = 1
    while queue:
        place, node = queue.pop()
        labels = [0 if label < 0 else label for label in node]
        while any((following << 8) ^ label in taken for label in labels):
            following += 1
        base = following << 8
        # Offsets of 21 bits and more are counted in steps of 256: all bases are.
        units[place] |= (place ^ base) >> 8 << 10 | 1 << 9 if (place ^ base) % 256 == 0 else (place ^ base) << 10
        taken.update(base ^ label for label in labels)
        for label, child in node.items():
            if label < 0:
                units[place] |= 1 << 8
                units[base] = 1 << 31 | child
            else:
                units[base ^ label] = label
                queue.append((base ^ label, child))
        following += 1
    size = (max(taken) // 256 + 1) * 256
    array = [units.get(place, 0) for place in range(size)]
    return base64.b64encode(struct.pack(f"<I{size}I", 4 * size, *array) + texts).decode()


#: A charsmap that does what those of sentencepiece do, and what they might: texts that grow, shrink and go away, keys
#: of several characters, and keys that begin with other keys.
CHARSMAP = charsmap(
    {
        **{chr(point): " " for point in (0x09, 0x0A, 0x0D, 0xA0, 0x3000, 0x200B)},
        **{chr(point): "" for point in (*range(1, 9), 0x7F, 0xAD, 0x200D)},
        **{chr(0xFEE0 + point): chr(point) for point in range(0x21, 0x7F)},
        **{
            "ﬁ": "fi",
            "½": "1\u20442",
            "㎏": "kg",
            "ﷺ": "صلى الله",
            "か\u3099": "が",
            "ｶﾞ": "ガ",
            "e\u0301": "é",
            "a\u0301": "",
        },
        **{
            "😀": ":)",
            "\r\n": "\n",
            "\u0301": "",
            "☎\ufe0f": "phone",
            "が": "ga",
            "\u1112\u1161": "하",
            "o\u0308": "  ",
        },
        **{"k\u0323": "k\u0323\u0323\u0323", "©": "©", "x": " x ", "\u0915\u094d": "क", "\u0e33": "\u0e4d\u0e32"},
    }
)

#: Every normalizer with its settings.
NORMALIZERS: tuple[dict[str, Any], ...] = (
    *({"type": kind} for kind in ("NFD", "NFC", "NFKD", "NFKC", "Lowercase", "StripAccents", "Nmt")),
    *(
        {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip}
        | {"lowercase": lower}
        for clean, chinese, strip, lower in itertools.product(
            (True, False), (True, False), (None, True, False), (True, False)
        )
    ),
    *(
        {"type": "Strip", "strip_left": left, "strip_right": right}
        for left, right in itertools.product((True, False), repeat=2)
    ),
    *({"type": "Prepend", "prepend": text} for text in ("▁", " ", "ab", "e\u0301", "가")),
    *(
        {"type": "Replace", "pattern": {kind: pattern}, "content": content}
        for kind, pattern, content in (
            *(
                ("String", " ", "▁"),
                ("String", "``", '"'),
                ("String", "aa", "a"),
                ("String", "e", ""),
                ("String", "o", "ooo"),
            ),
            *(("Regex", " {2,}", " "), ("Regex", "o+", ""), ("Regex", "0{3,}", "xyz"), ("Regex", "▁{1,}", " ")),
            *(("String", ".", "·"), ("String", "\u0301", ""), ("String", "'", "\u2019"), ("Regex", "!+", "!")),
        )
    ),
    {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
)

#: Every pre-tokenizer with its settings.
SPLITTERS: tuple[dict[str, Any], ...] = (
    *({"type": kind} for kind in ("BertPreTokenizer", "WhitespaceSplit", "Whitespace")),
    *({"type": "Punctuation", "behavior": behavior} for behavior in BEHAVIORS),
    *({"type": "Digits", "individual_digits": each} for each in (True, False)),
    *({"type": "CharDelimiterSplit", "delimiter": each} for each in "-▁ 가"),
    *(
        {"type": "Metaspace", "replacement": sign, "prepend_scheme": scheme, "split": split}
        for sign, scheme, split in itertools.product("▁_", ("always", "first", "never"), (True, False))
    ),
    *(
        {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": False}
        for (kind, pattern), behavior in itertools.product(
            (
                *(
                    ("String", " "),
                    ("String", "e"),
                    ("String", "."),
                    ("Regex", r"\s+"),
                    ("Regex", r"\s"),
                    ("Regex", r"\d"),
                ),
                *(
                    ("Regex", r"\p{L}+"),
                    ("Regex", r"[\p{P}\p{S}]"),
                    ("Regex", "[^a-z]+"),
                    ("Regex", r"\W+"),
                    ("Regex", "o+"),
                ),
            ),
            BEHAVIORS,
        )
    ),
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Those after which pieces are bytes.
BYTE_SPLITTERS: tuple[dict[str, Any], ...] = (
    *(
        {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": False, "use_regex": regex}
        for prefix, regex in itertools.product((True, False), repeat=2)
    ),
    {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    },
)


def every_setting() -> list[str]:
    """Tokenizers with each normalizer and each pre-tokenizer alone."""
    plain, spelt = json.loads(character_bpe(byte_fallback=True)), json.loads(byte_bpe())
    none: dict[str, Any] = {"normalizer": None, "pre_tokenizer": None}
    return [
        *(json.dumps(plain | none | {"normalizer": each}) for each in NORMALIZERS),
        *(json.dumps(plain | none | {"pre_tokenizer": each}) for each in SPLITTERS),
        *(json.dumps(spelt | none | {"pre_tokenizer": each}) for each in BYTE_SPLITTERS),
    ]


def random_tokenizer(chance: random.Random) -> str:
    """A tokenizer with some parts of all kinds in sequence, and added tokens with any rules."""
    base = json.loads(chance.choice([*KINDS.values()])())
    byte_level = (base["pre_tokenizer"] or {}).get("type") == "ByteLevel"
    base["normalizer"] = _sequence("normalizers", chance.choices(NORMALIZERS, k=chance.choice((0, 1, 1, 2, 3, 4))))
    splitters = chance.choices(SPLITTERS, k=chance.choice((0, 1, 1, 2, 3)))
    if byte_level:
        splitters.append(chance.choice(BYTE_SPLITTERS))
    base["pre_tokenizer"] = _sequence("pretokenizers", splitters)
    base["added_tokens"] = added_tokens(chance, base)
    base["post_processor"] = None
    return json.dumps(base)


def _sequence(key: str, parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    if len(parts) == 1:
        return parts[0]
    return {"type": "Sequence", key: parts} if parts else None


def added_tokens(chance: random.Random, base: dict[str, Any]) -> list[dict[str, Any]]:
    """Added tokens with any rules, some of them of the vocabulary."""
    contents = [
        "[MASK]",
        "<extra>",
        "[MA",
        "MASK",
        "Ünï",
        "é",
        "don't",
        "北京",
        "a b",
        "AA",
        "aa",
        "ﬁ",
        "ẞ",
        "x.y",
        "😀",
        "1 2",
    ]
    vocab = base["model"]["vocab"]
    pieces = [piece for piece, _ in vocab] if isinstance(vocab, list) else [*vocab]
    contents += [chance.choice(pieces) for _ in range(4)]
    chosen = dict.fromkeys(chance.sample(contents, chance.randrange(1, 9)))
    ids = {piece: id for id, piece in enumerate(pieces)} if isinstance(vocab, list) else vocab
    following = itertools.count(len(pieces))
    keys = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return [
        {"id": ids[content] if content in ids else next(following), "content": content}
        | {key: chance.random() < 0.4 for key in keys}
        for content in chosen
    ]
