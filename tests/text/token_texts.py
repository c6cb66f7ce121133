"""Texts on which tokenizers are compared: real ones, random ones, and whatever lies beside the project."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Tokenizer as Library

#: Blocks whose characters do something to their neighbours, or have something done to them by one part or another.
BLOCKS = (
    *((0x20, 0x7F), (0x20, 0x100), (0x100, 0x250), (0x250, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x600)),
    *((0x600, 0x700), (0x700, 0x8FF), (0x900, 0x980), (0x980, 0xA80), (0xA80, 0xC00), (0xC00, 0xE00), (0xE00, 0xF00)),
    *((0xF00, 0x1000), (0x1000, 0x1100), (0x1100, 0x1200), (0x1200, 0x1700), (0x1700, 0x1900), (0x1900, 0x1AB0)),
    *((0x1AB0, 0x1B80), (0x1B80, 0x1D00), (0x1D00, 0x1E00), (0x1E00, 0x2000), (0x2000, 0x2100), (0x2100, 0x2400)),
    *((0x2400, 0x2800), (0x2900, 0x2C00), (0x2C00, 0x2E80), (0x2E80, 0x3000), (0x3000, 0x3100), (0x3100, 0x3400)),
    *((0x4E00, 0x9FFF), (0xA000, 0xA8E0), (0xA8E0, 0xAC00), (0xAC00, 0xD7A4), (0xD7A4, 0xD800), (0xF900, 0xFB00)),
    *((0xFB00, 0xFE00), (0xFE00, 0xFF00), (0xFF00, 0x10000), (0x10000, 0x10400), (0x10A00, 0x10B00)),
    *((0x11000, 0x11200), (0x11200, 0x11A00), (0x11A00, 0x12000), (0x16A00, 0x17000), (0x1B000, 0x1BD00)),
    *((0x1D000, 0x1D250), (0x1D400, 0x1D800), (0x1E000, 0x1E950), (0x1EE00, 0x1EF00), (0x1F100, 0x1F300)),
    *((0x1F300, 0x1F700), (0x1F900, 0x1FB00), (0x20000, 0x20100), (0x2F800, 0x2FA20), (0xE0000, 0xE01F0)),
)
#: Characters that stand for themselves in a rule of some part.
SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1f \x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060"
    "\u3000\ufeff"
)
CONTROLS = (
    "\x00\x01\x08\x0e\x1b\x7f\x80\x8f\x9f\xad\u0600\u061c\u070f\u180e\u200c\u200d\u200e\u2066\ufff9\ufffb"
    "\ufffd\U000110bd\U000e0001\U000e0041\U000e007f"
)
MARKS = (
    "\u0300\u0301\u0302\u0303\u0307\u0308\u030a\u0316\u0323\u0327\u0328\u0338\u0344\u0345\u0346\u035c\u0360"
    "\u05b0\u064b\u0651\u0653\u093c\u0e38\u0e48\u0f71\u0f72\u0f73\u0f74\u0f80\u0f81\u1dc0\u20d0\u20dd\u20e3"
    "\u302a\u302e\u3099\u309a\ufe0e\ufe0f\ufe20\U0001d165\U0001d16e\U0001e8d0"
)
STARTERS = (
    "aAeEiIoOuUcCnNsSgGkK\u00c5\u00d8\u00e4\u00e7\u00df\u0130\u0131\u017f\u01c4\u01c5\u0390\u03a3\u03c3\u03c2"
    "\u0490\u0627\u0648\u0915\u0958\u09c7\u0dd9\u1e9e\u1fb3\u212a\u212b\u2126\u304b\u30ab\uff76\uff9e\uff9f"
    "\U00010400\U0001d157\U0001d15e"
)
CONJUNCTS = (
    "\u0915\u0937\u0924\u0930\u092f\u094d\u200d\u200c\u093c\u093f\u0940\u0995\u09cd\u09be\u0ac7\u0acd\u0aa4"
    "\u0d15\u0d4d\u0d4e\u0c15\u0c4d\u0c3e\u0b95\u0bcd\u0bbf\u1000\u1039\u103a\u1780\u17d2\U00011013\U00011046"
    "\U0001107f"
)
JAMO = (
    "\u1100\u1112\u1113\u115f\u1160\u1161\u1175\u1176\u11a7\u11a8\u11c2\u11c3\ua960\ua97c\ud7b0\ud7c6\ud7cb"
    "\ud7fb\uac00\uac01\uac1c\ud55c\ud7a3\ud788\u3131\uffa1"
)
EMOJI = (
    "\U0001f600\U0001f468\U0001f469\U0001f467\U0001f3fb\U0001f3ff\u200d\u200d\ufe0f\u2764\u2640\u2642\u00a9"
    "\u00ae\u2122\u203c\u3030\u303d\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f3f4\U000e0067\U000e007f#1"
    "\u20e3\U0001f9d1\U0001f4bb\u2194\u231a"
)
SIGNS = (
    "'\u2019`\".,;:!?-_/\\()[]{}<>@#$%^&*+=~|\u2581\u00b7\u00bf\u2026\u2014\u3001\u3002\uff0c\uff01\u0964"
    "\u060c\u00ab\u00bb\u0f0b\u104a"
)
NUMBERS = (
    "0123456789\u00b2\u00bd\u0660\u0663\u0966\u2160\u2167\u2460\u2155\u3007\u3021\uff10\uff19\U0001d7ce"
    "\U00010107\u4e00\u4e09"
)
WIDE = "".join(map(chr, (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), *range(0xFF66, 0xFFA0), 0xFFE0, 0xFFE5)))
LIGATURES = (
    "\ufb00\ufb01\ufb03\ufdfa\ufdfb\u33a5\u3300\u32ff\u2474\u24d0\u2100\u2120\u2121\u01c7\u0132\u0149\u017f"
    "\u1e9b\u2002\u2025\u2047\u3392\ufe70\ufc5e\u0e33\u0eb3\u0f77\u037a\u0384\u1fbd\u1fed"
)
POOLS = (SPACES, CONTROLS, MARKS, STARTERS, CONJUNCTS, JAMO, EMOJI, SIGNS, NUMBERS, WIDE, LIGATURES)
_WORDS = (
    "the quick brown Fox Jumps over 13 lazy DOGS don't they'll I've we're he'd it's I'm 'twas rock'n'roll U.S.A. naïve "
    "café Ünïcode STRAẞE ǅ İstanbul ΌΣΟΣ Ⅷ ﬁnance ½ x² Ａｌｐｈａ e-mail http://a.b/c?d=e#f a_b_c C++ 3,14 "  # noqa: RUF001
    "1.000.000 北京 東京都 한국어 ภาษาไทย हिन्दी العربية עברית ქართული Ελληνικά русский ёлка й Việt Nam ở đường"
)
WORDS = _WORDS.split(" ")


def _cluster(chance: random.Random) -> str:
    """A few characters that belong together."""
    kind = chance.randrange(8)
    if kind == 0:
        return chance.choice(STARTERS) + "".join(chance.choices(MARKS, k=chance.randrange(1, 5)))
    if kind == 1:
        return "".join(chance.choices(JAMO, k=chance.randrange(1, 5)))
    if kind == 2:
        return "".join(chance.choices(CONJUNCTS, k=chance.randrange(2, 7)))
    if kind == 3:
        return "".join(chance.choices(EMOJI, k=chance.randrange(1, 6)))
    if kind == 4:
        start, end = chance.choice(BLOCKS)
        return "".join(_character(chance, start, end) for _ in range(chance.randrange(1, 7)))
    if kind == 5:
        start = _character(chance, *chance.choice(BLOCKS))
        return start + "".join(chance.choices(MARKS + CONTROLS, k=chance.randrange(1, 4)))
    pool = chance.choice(POOLS)
    return "".join(chance.choices(pool, k=chance.randrange(1, 4)))


def _character(chance: random.Random, start: int, end: int) -> str:
    point = chance.randrange(start, end)
    return chr(point) if not 0xD800 <= point < 0xE000 else " "


def random_texts(seed: int, count: int, library: Library | None = None) -> Iterator[str]:
    """Random texts, the same ones for a seed.

    Args:
        seed: of the generator.
        count: texts.
        library: whose pieces and added tokens are among them.
    """
    chance = random.Random(seed)
    pieces: list[str] = []
    added: list[str] = []
    if library is not None:
        pieces = [piece for piece in sorted(library.get_vocab()) if piece]
        added = [token.content for token in library.get_added_tokens_decoder().values()]
    sources: list[Callable[[], str]] = [
        *[lambda: _cluster(chance)] * 6,
        *[lambda: chance.choice(WORDS)] * 2,
        *[lambda: chance.choice(SPACES) * chance.choice((1, 1, 1, 2, 3))] * 2,
        lambda: " " * chance.choice((1, 1, 1, 2, 3)),
        lambda: chance.choice(SIGNS),
        lambda: _character(chance, 0, 0x110000),
        lambda: _character(chance, 0, 0x3100),
    ]
    if pieces:
        sources += [lambda: chance.choice(pieces)] * 4
    if added:
        sources += [lambda: _twisted(chance, chance.choice(added))] * 2
    for _ in range(count):
        kind = chance.randrange(10)
        if kind == 0:  # all from one block, so that its neighbours meet
            start, end = chance.choice(BLOCKS)
            yield "".join(_character(chance, start, end) for _ in range(chance.randrange(1, 12)))
        elif kind == 1:
            yield "".join(_character(chance, 0, 0x110000) for _ in range(chance.randrange(1, 10)))
        elif kind == 2:
            yield " ".join(chance.choice(sources)() for _ in range(chance.randrange(1, 5)))
        else:
            yield "".join(chance.choice(sources)() for _ in range(chance.randrange(1, 6)))


def _twisted(chance: random.Random, token: str) -> str:
    """An added token as it is, in other letters, or only a part of it."""
    kind = chance.randrange(6)
    if kind == 0:
        return token.upper() if chance.random() < 0.5 else token.lower()
    if kind == 1:
        return token[: chance.randrange(1, len(token) + 1)]
    if kind == 2:
        return token * 2
    return token


def opened(path: Path) -> str:
    """The text of a file, which may be compressed."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def dataset_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Each file of the shared data with its texts; tags and labels are texts as well."""
    for path in sorted(data.glob("*/*")):
        name = path.relative_to(data).as_posix()
        if path.parent.name in ("vocab", "tokenization"):
            continue
        text = opened(path)
        if ".jsonl" in path.name:
            yield name, [json.loads(line)["text"] for line in text.splitlines()]
        elif path.parent.name == "xquad":
            yield name, xquad_texts(text)
        elif path.suffix == ".json":
            yield name, json.loads(text)
        elif ".conll" in path.name:
            sentences = text.split("\n\n")
            yield name, [" ".join(line.split("\t")[0] for line in each.splitlines()) for each in sentences]
        else:
            yield name, [cell for line in text.split("\n") for cell in line.split("\t") if cell]


def xquad_texts(text: str) -> list[str]:
    """Questions and paragraphs of a file of XQuAD."""
    found = []
    for article in json.loads(text)["data"]:
        for paragraph in article["paragraphs"]:
            found.append(paragraph["context"])
            found += [question["question"] for question in paragraph["qas"]]
    return found


def gold_texts(data: Path) -> list[dict]:
    """The 774 texts with the ids that three vocabularies give them."""
    return [json.loads(line) for line in opened(data / "tokenization/gold_ids.jsonl.gz").splitlines()]
