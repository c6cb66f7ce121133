"""What the tokenizers library does with each character of Unicode, found by asking it.

So the tables say what this very library says, whatever version of Unicode each of its parts knows.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from tokenizers import Tokenizer

from minibert.format import token_tables as tt

#: Stands between characters that are looked at one by one: a letter that no normalizer changes.
_BETWEEN = "\U00010480"
#: Up to here, and in the last of these, every character is asked for; elsewhere the ends of each block of so many.
ASSIGNED, _TAGS, _BLOCK = 0x40000, range(0xE0000, 0xE1000), 0x1000


def part(kind: str, settings: Any) -> Any:
    """A normalizer or pre-tokenizer of the library, by what tokenizer.json says of it."""
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    return getattr(Tokenizer.from_str(json.dumps({"model": model, kind: settings})), kind)


def spread(found: Callable[[list[int]], dict[int, Any]]) -> dict[int, Any]:
    """What `found` says of code points, for all of Unicode: of blocks that nobody has filled, by their ends."""
    dense = [point for point in [*range(ASSIGNED), *_TAGS] if not 0xD800 <= point < 0xE000]
    ends = {block: (block, block + _BLOCK - 3) for block in range(ASSIGNED, tt.CODE_POINTS, _BLOCK)}
    ends = {block: pair for block, pair in ends.items() if block not in _TAGS}
    last = [block + _BLOCK - 1 - back for block in ends for back in (0, 1)]
    values = found([*dense, *(point for pair in ends.values() for point in pair), *last])
    for block, (start, end) in ends.items():
        if values.get(start) != values.get(end):
            values |= found(list(range(block, block + _BLOCK)))
        elif start in values:
            values |= {point: values[start] for point in range(start, end)}
    return values


def _chunks(points: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(points), 1 << 15):
        yield points[start : start + (1 << 15)]


@cache
def replacements(settings: str) -> dict[int, str]:
    """What a normalizer, given as JSON, makes of each character alone, where that is something else."""
    normalizer = part("normalizer", json.loads(settings))

    def found(points: list[int]) -> dict[int, str]:
        values: dict[int, str] = {}
        for chunk in _chunks([point for point in points if point != ord(_BETWEEN)]):
            chars = [*map(chr, chunk)]
            made = normalizer.normalize_str(_BETWEEN.join(chars)).split(_BETWEEN)
            values |= {ord(char): text for char, text in zip(chars, made, strict=True) if text != char}
        return values

    return spread(found)


@cache
def removed(settings: str) -> frozenset[int]:
    """The characters that a pre-tokenizer, given as JSON, drops one by one."""
    splitter = part("pre_tokenizer", json.loads(settings))

    def found(points: list[int]) -> dict[int, bool]:
        values: dict[int, bool] = {}
        for chunk in _chunks(points):
            kept: set[int] = set()
            for _, (start, end) in splitter.pre_tokenize_str("".join(map(chr, chunk))):
                kept.update(range(start, end))
            values |= {point: True for place, point in enumerate(chunk) if place not in kept}
        return values

    return frozenset(spread(found))


@cache
def numeric() -> frozenset[int]:
    """What "Digits" takes for a number."""
    splitter = part("pre_tokenizer", {"type": "Digits", "individual_digits": True})

    def found(points: list[int]) -> dict[int, bool]:
        values: dict[int, bool] = {}
        for chunk in _chunks(points):
            text = "".join(f"a{chr(point)}" for point in chunk)
            pieces = splitter.pre_tokenize_str(text)
            values |= {chunk[start // 2]: True for _, (start, end) in pieces if end - start == 1 and start % 2}
        return values

    return frozenset(spread(found))


@cache
def word_characters() -> tuple[frozenset[int], frozenset[int]]:
    r"""What "Whitespace" takes for \w and for \s."""
    splitter = part("pre_tokenizer", {"type": "Whitespace"})

    def found(points: list[int]) -> dict[int, int]:
        values: dict[int, int] = {}
        for chunk in _chunks(points):
            values |= dict.fromkeys(chunk, tt.IS_SPACE)
            # Characters of a piece are all of words, or none is: behind a letter, the first one shows which.
            runs = [span for _, span in splitter.pre_tokenize_str("".join(map(chr, chunk)))]
            pieces = splitter.pre_tokenize_str("".join(f"a{chr(chunk[start])} " for start, _ in runs))
            ends = {start: end for _, (start, end) in pieces}
            for place, (start, end) in enumerate(runs):
                joined = ends[3 * place] == 3 * place + 2
                values |= dict.fromkeys(chunk[start:end], tt.IS_WORD if joined else 0)
        return {point: value for point, value in values.items() if value}

    values = spread(found)
    return (
        frozenset(point for point, value in values.items() if value == tt.IS_WORD),
        frozenset(point for point, value in values.items() if value == tt.IS_SPACE),
    )


def matches(pattern: str) -> frozenset[int]:
    """The characters that a regular expression for one character matches."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": False}
    return removed(json.dumps(split))


@cache
def combining_classes() -> dict[int, int]:
    """Canonical combining classes that are not 0, of the characters of which the library knows that."""
    from unicodedata import combining

    normalizer = part("normalizer", {"type": "NFD"})
    marks = [point for point in range(ASSIGNED) if combining(chr(point))]
    ypogegrammeni, highest = "\u0345", 240  # no class is higher
    known = {}
    for point in marks:
        beside = "\u0301" if combining(chr(point)) == highest else ypogegrammeni
        given = beside + chr(point) if combining(chr(point)) != highest else chr(point) + beside
        if normalizer.normalize_str(f"q{given}") != f"q{given}":
            known[point] = combining(chr(point))
    return known


@cache
def compositions() -> dict[str, int]:
    """Pairs of characters that NFC makes one of, Hangul left out."""
    from unicodedata import decomposition

    normalizer = part("normalizer", {"type": "NFC"})
    found = {}
    for point in range(ASSIGNED):
        parts = decomposition(chr(point)).split()
        if len(parts) == 2 and "<" not in parts[0]:
            pair = "".join(chr(int(each, 16)) for each in parts)
            if normalizer.normalize_str(pair) == chr(point):
                found[pair] = point
    return found


def _every_character() -> str:
    """A charsmap of sentencepiece in which each character is a key for X."""
    # A double array: a unit has a label and the way to its children, who are found by exclusive or with a byte.
    leaf, one, two, three = 256, 512, 768, 1024
    units = [0] * 1280

    def unit(place: int, label: int, children: int, ends: bool) -> None:
        units[place] = label | (256 if ends else 0) | (place ^ children) << 10

    unit(0, 0, 0, False)
    for byte in range(1, 0x80):
        unit(byte, byte, leaf, True)
    for start, end, children in ((0xC2, 0xE0, one), (0xE0, 0xF0, two), (0xF0, 0xF5, three)):
        for byte in range(start, end):
            unit(byte, byte, children, False)
    for byte in range(0x80, 0xC0):
        unit(one ^ byte, byte, leaf, True)
        unit(two ^ byte, byte, one, False)
        unit(three ^ byte, byte, two, False)
    units[leaf] = 1 << 31  # the value: the text from byte 0 on
    return base64.b64encode(struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + b"X\0").decode()


@cache
def cluster_breaks() -> dict[int, int]:
    """Grapheme cluster breaks of all characters, as the library's own segmentation shows them.

    Only clusters of at most five bytes are looked up as a whole, so only what ends there has to be known.
    """
    from unicodedata import category

    normalizer = part("normalizer", {"type": "Precompiled", "precompiled_charsmap": _every_character()})

    def clusters(*points: int) -> int:
        return len(normalizer.normalize_str("".join(map(chr, points))))

    letter, accent, joiner, sign = ord("a"), 0x301, 0x200D, 0x2122
    consonant, linker = 0x915, 0x94D
    kinds: dict[int, int] = {0x0D: tt.CR, 0x0A: tt.LF, joiner: tt.JOINER}
    kinds |= dict.fromkeys(range(0x1F1E6, 0x1F200), tt.REGIONAL)
    kinds |= dict.fromkeys([*range(0x1100, 0x1160), *range(0xA960, 0xA97D)], tt.HANGUL_L)
    kinds |= dict.fromkeys([*range(0x1160, 0x11A8), *range(0xD7B0, 0xD7C7)], tt.HANGUL_V)
    kinds |= dict.fromkeys([*range(0x11A8, 0x1200), *range(0xD7CB, 0xD7FC)], tt.HANGUL_T)
    kinds |= {point: tt.HANGUL_LVT for point in range(0xAC00, 0xD7A4)}
    kinds |= {point: tt.HANGUL_LV for point in range(0xAC00, 0xD7A4, 28)}
    extended = set(_together(normalizer, lambda point: (letter, point)))
    for point in [*range(0x20, 0x20000), *_TAGS]:
        if point in kinds or 0xD800 <= point < 0xE000 or 0x3400 <= point < 0xA000:
            continue
        sort = category(chr(point))
        if point in extended:
            kinds[point] = tt.SPACING if sort == "Mc" else tt.EXTEND
            if sort in ("Mn", "Me") and clusters(consonant, point, consonant, accent) == 4:
                kinds[point] = tt.LINKER
            elif sort in ("Mn", "Me", "Cf") and clusters(consonant, linker, point, consonant, accent) == 5:
                kinds[point] = tt.CONJUNCT
        elif sort in ("Cc", "Cf", "Zl", "Zp") or (point in _TAGS and sort == "Cn"):
            kinds[point] = tt.CONTROL if clusters(point, letter) == 2 else tt.PREPENDED
        elif sort in ("Lo", "Lm", "No", "So") and clusters(point, letter) == 1:
            kinds[point] = tt.PREPENDED
        elif sort == "Lo" and point >= 0x900 and clusters(consonant, linker, point, accent) == 4:
            kinds[point] = tt.CONSONANT
        elif sort in ("So", "Sm", "Po", "Sk", "Cn", "Ll") and clusters(point, joiner, sign, accent) == 4:
            kinds[point] = tt.PICTOGRAPH
    kinds |= dict.fromkeys(range(0x20), tt.CONTROL) | {0x0D: tt.CR, 0x0A: tt.LF}
    return kinds


def _together(normalizer: Any, pair: Callable[[int], tuple[int, int]]) -> Iterator[int]:
    """The characters for which a pair is one cluster."""
    points = [point for point in [*range(0x20, ASSIGNED), *_TAGS] if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 1 << 6):
        few = points[start : start + (1 << 6)]
        # A carriage return and a line feed are one cluster that nothing joins: X between the pairs, which have 1 or 2.
        text = "\r\n".join("".join(map(chr, pair(point))) for point in few)
        if len(normalizer.normalize_str(text)) == 3 * len(few) - 1:
            continue
        for point in few:
            if len(normalizer.normalize_str("".join(map(chr, pair(point))))) == 1:
                yield point
