"""What a tokenizer.json inside a model may ask of the tokenizers library: work in bounds, whatever text comes.

The library does what the file says: it compiles any regular expression, and replaces one letter by a megabyte. So the
parts that a file may be made of are listed here, and their numbers have limits far above those of real tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from minibert.errors import FormatError
from minibert.format.values import shown

#: Parts within parts, and all of them together. Real tokenizers have less than ten.
MAX_COMPONENTS, MAX_DEPTH = 64, 8
#: Numbers and strings of all components together.
MAX_SETTINGS = 10_000
#: Characters of a string, but for a Precompiled normalizer's table.
MAX_STRING = 256
#: How many times as long a text may become by all normalizers together. Unicode's own longest is 18 characters for one.
MAX_GROWTH = 64
#: Characters of a word in which WordPiece looks for pieces, which takes quadratic time; all real ones have 100.
MAX_WORD = 256
#: Characters of one piece of a vocabulary, and of all of them. XLM-V's 900,000 have 10 MB.
MAX_PIECE, MAX_VOCABULARY = 1024, 16 << 20
#: Tokens beside the vocabulary.
MAX_ADDED_TOKENS = 1 << 16

_KINDS = {
    "normalizer": {
        *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt"),
        *("Precompiled", "Prepend", "Replace", "Sequence", "Strip", "StripAccents"),
    },
    "pre_tokenizer": {
        *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace", "Punctuation"),
        *("Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    },
    "post_processor": {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"},
    "decoder": {
        *("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip"),
        "WordPiece",
    },
}
#: Alternatives of characters and classes one behind the other, or of one of them repeated: at each place of a text a
#: match is found, or given up after at most 256 characters, and a run is taken whole. So they need linear time.
_ATOM = (
    r"(?:[^\\\[\](){}.*+?|^$]|\\[sSdDwW.\-|()\[\]{}^$*+?/\\]|\\[pP]\{\w{1,20}\}"
    r"|\[\^?(?:[^\\\[\]&]|\\[^xuoQEcCMGkg0-9])+\])"
)
_RUN = rf"{_ATOM}(?:\+|\{{[1-9]\d?,\d{{0,2}}\}}|{_ATOM}*)"
_LINEAR = rf"{_RUN}(?:\|{_RUN})*"
#: GPT-2's, which many byte-level vocabularies spell out.
_KNOWN = {r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}


def prove_tokenizer(text: str) -> None:
    """Prove that a tokenizer.json asks for nothing but bounded work.

    Args:
        text: its content, of at most 64 MiB.

    Raises:
        FormatError: naming what is not known, or beyond which limit.
    """
    try:
        _prove(text)
    except FormatError:  # a ValueError too
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(f"it is no tokenizer.json: {error!r:.200}") from None


def _prove(text: str) -> None:
    import json

    tokenizer = json.loads(text)
    model = tokenizer["model"]
    vocabulary, added = model["vocab"], tokenizer.get("added_tokens") or []
    pieces = list(vocabulary) if type(vocabulary) is dict else [piece for piece, _ in vocabulary]
    lengths = [list(map(len, strings)) for strings in (pieces, [token["content"] for token in added])]
    parts = [(kind, tokenizer.get(kind)) for kind in _KINDS]
    settings = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    for what, count, limit in (
        ("characters in a piece", max(lengths[0], default=0), MAX_PIECE),
        ("characters in its vocabulary", sum(lengths[0]), MAX_VOCABULARY),
        ("added tokens", len(added), MAX_ADDED_TOKENS),
        ("characters in an added token", max(lengths[1], default=0), MAX_STRING),
        ("characters in a word", settings.get("max_input_chars_per_word") or 0, MAX_WORD),
        ("components", sum(1 for _, part in parts for _ in _components(part)), MAX_COMPONENTS),
        ("settings", sum(_size(part) for part in (settings, *(part for _, part in parts))), MAX_SETTINGS),
    ):
        _limited(what, count, limit)
    if settings.get("dropout"):
        raise FormatError(f"its dropout is {settings['dropout']!r:.20}: answers would be a matter of chance")
    growth = 1
    for kind, part in parts:
        for component in _components(part):
            name = component.get("type")
            if name not in _KINDS[kind]:
                raise FormatError(f"its {kind} has a component {shown(name)}, which this release does not know")
            growth *= _growth(component) if kind != "post_processor" else 1
    _limited("times as long a text after its normalizers", growth, MAX_GROWTH)


def _components(part: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """A component and all that are within it."""
    if part is None:
        return
    if type(part) is not dict or depth > MAX_DEPTH:
        raise FormatError(f"its components must be objects, at most {MAX_DEPTH} within one another")
    yield part
    for within in ("normalizers", "pretokenizers", "processors", "decoders"):
        for inner in part.get(within) or ():
            yield from _components(inner, depth + 1)


def _size(value: Any) -> int:
    """Numbers and strings in a value; no string among them is too long."""
    if type(value) is dict:
        return sum(_size(key) + _size(item) for key, item in value.items() if key != "precompiled_charsmap")
    if type(value) is list:
        return sum(map(_size, value))
    if type(value) is str:
        _limited("characters in a string", len(value), MAX_STRING)
    return 1


def _limited(what: str, count: Any, limit: int) -> None:
    if type(count) is not int or count > limit:
        raise FormatError(f"it has {count!r:.40} {what}; the limit is {limit}")


def _growth(component: dict[str, Any]) -> int:
    """How many times as long a text may become by one component; its pattern, if it has one, needs linear time."""
    if component["type"] == "ByteLevel":
        return 2
    if component["type"] == "Precompiled":
        return _longest_replacement(component.get("precompiled_charsmap"))
    if "pattern" not in component:
        return 1
    pattern, content = component["pattern"], component.get("content", "")
    kind, text = next(iter(pattern.items())) if type(pattern) is dict and len(pattern) == 1 else ("String", pattern)
    if type(text) is not str or type(content) is not str or not text:
        raise FormatError(f"its pattern {pattern!r:.80} is none")
    if kind == "Regex" and text not in _KNOWN and not re.fullmatch(_LINEAR, text):
        raise FormatError(
            f"its pattern {shown(text)} is none that is known to need linear time: alternatives of characters and "
            "classes, or of one of them repeated"
        )
    return max(1, -(-len(content) // (len(text) if kind == "String" else 1)))


def _longest_replacement(encoded: Any) -> int:
    """Characters of the longest replacement in a Precompiled normalizer's table: sizes of a trie, then texts."""
    from base64 import b64decode

    try:
        table = b64decode(encoded or "", validate=True)
    except (ValueError, TypeError):
        raise FormatError("its precompiled_charsmap is not base64") from None
    size = int.from_bytes(table[:4], "little")
    if size % 4 or 4 + size > len(table):
        raise FormatError("its precompiled_charsmap is cut short")
    return max(1, *map(len, table[4 + size :].decode("utf-8", "replace").split("\0")))
