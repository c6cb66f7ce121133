"""From the text of a tokenizer.json to tables, proven against the tokenizers library on texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from minibert.format import token_tables as tt
from minibert.format.token_proof import prove_tokens
from minibert.format.token_tables import FrameTokens, Pass, Tokenization
from minibert.reference.tokens import TokenReference
from minibert_converter.tokens import probing
from minibert_converter.tokens.characters import CharacterTable
from minibert_converter.tokens.normalizers import Normalizers
from minibert_converter.tokens.refusal import NoTables
from minibert_converter.tokens.samples import samples
from minibert_converter.tokens.splitters import Splitters, spaces_and_words
from minibert_converter.tokens.tries import build_trie
from minibert_converter.tokens.vocabulary import vocabulary

Array = npt.NDArray[Any]


class Tables(NamedTuple):
    """A tokenizer as tables.

    Attributes:
        tokenization: what the config says of them.
        tensors: those of `token_tensors`.
        rest: tokenizer.json without what the tables say.
    """

    tokenization: Tokenization
    tensors: dict[str, Array]
    rest: str


def compile_tokenizer(text: str, vocab_size: int) -> Tables:
    """Tables of a tokenizer.

    Args:
        text: a tokenizer.json.
        vocab_size: words that the model has.

    Raises:
        NoTables: saying why it stays with the tokenizers library.
    """
    settings = json.loads(text)
    library = Tokenizer.from_str(text)
    library.no_truncation()
    library.no_padding()
    try:
        tables = _compiled(settings, library, vocab_size)
        prove_tokens(tables.tokenization, tt.expanded(tables.tokenization, tables.tensors), vocab_size)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NoTables(f"its settings are of a kind that is not known: {error!r:.100}") from None
    untrimmed = library
    if tables.tokenization.trim:  # what it takes off offsets, tables leave to whoever knows the names of tokens
        untrimmed = Tokenizer.from_str(
            json.dumps(settings | {"post_processor": None, "truncation": None, "padding": None})
        )
    _compare(tables, library, untrimmed)
    return tables


def _compiled(settings: dict[str, Any], library: Tokenizer, vocab_size: int) -> Tables:
    table = CharacterTable()
    normalizers, splitters = Normalizers(table), Splitters(table)
    added = [_added(normalized, library) for normalized in (False, True)]
    passes = []
    for number, steps in enumerate(
        (normalizers.passes(settings.get("normalizer")), splitters.passes(settings.get("pre_tokenizer")))
    ):
        if tokens := added[number]:
            rules = int(np.bitwise_or.reduce([flags for _, flags in tokens.values()]))
            passes.append(Pass("added", column=spaces_and_words(table, rules), number=number))
        passes += steps
    words = vocabulary(settings["model"], library, byte_level=splitters.byte_level, vocab_size=vocab_size)
    tensors: dict[str, Array] = dict(words.tensors)
    sizes: dict[str, Any] = dict(words.sizes)
    if normalizers.composes:
        pairs = probing.compositions()
        size, trie, order = build_trie(tt.COMPOSITIONS, [pair.encode() for pair in pairs])
        sizes["compositions"] = size
        tensors |= trie | {f"{tt.COMPOSITIONS}.values": np.array([*pairs.values()], np.int32)[order]}
    if normalizers.clusters:
        size, trie, order = build_trie(tt.CLUSTERS, list(normalizers.clusters))
        sizes["clusters"] = size
        values = np.array([*normalizers.clusters.values()], np.uint16)[order]
        tensors |= trie | {f"{tt.CLUSTERS}.values": values}
    for name, field, tokens in zip(tt.ADDED, ("added", "added_normalized"), added, strict=True):
        if tokens:
            size, trie, order = build_trie(name, list(tokens))
            sizes[field] = size
            ids, flags = np.array([*tokens.values()], np.int32)[order].T
            tensors |= trie | {f"{name}.ids": np.ascontiguousarray(ids), f"{name}.flags": flags.astype(np.uint8)}
    counts, characters = table.tensors()
    tensors |= characters
    sizes |= counts
    truncation = settings.get("truncation") or {}
    tokenization = Tokenization(
        passes=tuple(passes),
        single=_frame(library, pair=False),
        pair=_frame(library, pair=True),
        direction=(truncation.get("direction") or "right").lower(),
        trim=_trim(settings.get("post_processor")),
        **words.settings,
        **sizes,
    )
    rest = settings | {"model": settings["model"] | words.rest}
    return Tables(tokenization, tensors, json.dumps(rest, ensure_ascii=False, separators=(",", ":")))


def _added(normalized: bool, library: Tokenizer) -> dict[bytes, tuple[int, int]]:
    """Tokens beside the vocabulary by what they look like in a text, before or after normalization: id and rules."""
    found: dict[bytes, tuple[int, int]] = {}
    strips = False
    # The library's own: where a token of that name is in the vocabulary, its id stands, whatever the settings say.
    for id, token in library.get_added_tokens_decoder().items():
        if token.normalized != normalized:
            continue
        content = token.content
        if normalized and library.normalizer is not None:
            content = library.normalizer.normalize_str(content)
        rules = {"lstrip": tt.STRIPS_LEFT, "rstrip": tt.STRIPS_RIGHT, "single_word": tt.SINGLE_WORD}
        flags = sum(bit for name, bit in rules.items() if getattr(token, name))
        strips |= bool(flags & (tt.STRIPS_LEFT | tt.STRIPS_RIGHT))
        data = content.encode()
        if not data or data in found or len(data) > tt.MAX_PIECE_BYTES:
            raise NoTables(f"its added token {token.content!r:.60} is empty, or another one, once normalized")
        found[data] = (id, flags)
    if strips and any(key.decode() != key.decode().strip() for key in found):
        raise NoTables("its added tokens both begin with white space and strip it")
    return found


def _frame(library: Tokenizer, *, pair: bool) -> FrameTokens:
    """The special tokens around a text or a pair."""
    encoding = library.encode("a", "a" if pair else None)
    ids, types, owners = encoding.ids, encoding.type_ids, encoding.sequence_ids
    first = [place for place, owner in enumerate(owners) if owner == 0]
    second = [place for place, owner in enumerate(owners) if owner == 1] if pair else first
    if not first or not second or (pair and second[0] < first[-1]):
        raise NoTables("it makes no token of the letter a, or the second text stands before the first")
    between = slice(first[-1] + 1, second[0]) if pair else slice(0)
    after = slice(second[-1] + 1, None)
    return FrameTokens(
        before=tuple(ids[: first[0]]),
        between=tuple(ids[between]),
        after=tuple(ids[after]),
        types=(*types[: first[0]], *types[between], *types[after]),
        text_types=(types[first[0]], types[second[0]]),
    )


def _trim(processor: dict[str, Any] | None) -> int:
    """Whether offsets leave out white space: 0, 1, or 2 if not a space that was put before the text."""
    if processor is None:
        return 0
    if processor["type"] == "Sequence":
        found = [_trim(each) for each in processor["processors"]]
        if sum(map(bool, found)) > 1:
            raise NoTables("it trims offsets twice")
        return max(found)
    if processor["type"] not in ("ByteLevel", "RobertaProcessing") or not processor.get("trim_offsets"):
        return 0
    return 2 if processor.get("add_prefix_space") else 1


def _compare(tables: Tables, library: Tokenizer, untrimmed: Tokenizer) -> None:
    """Raise NoTables unless the tables say what the library says, of texts of many kinds."""
    reference = TokenReference(tables.tokenization, tt.expanded(tables.tokenization, tables.tensors))
    for text in samples(library):
        encoding = untrimmed.encode(text, add_special_tokens=False)
        found = reference.tokenize(text)
        if found.ids != encoding.ids or found.words != encoding.word_ids:
            raise NoTables(f"tables would read {text!r:.80} in another way")
        if found.spans != encoding.offsets:
            raise NoTables(f"tables would find the tokens of {text!r:.80} in other places")
    for text, pair in _pairs():
        for second in (None, pair):
            encoding = library.encode(text, second)
            both = [reference.tokenize(each).ids for each in (text, second or "")]
            made = framed(tables.tokenization, *both, pair=second is not None)
            if (encoding.ids, encoding.type_ids) != made:
                raise NoTables("its template puts special tokens where tables have no place for them")


def framed(
    tokenization: Tokenization, first: list[int], second: list[int], *, pair: bool
) -> tuple[list[int], list[int]]:
    """Ids and types of a text or pair with its special tokens."""
    frame = tokenization.pair if pair else tokenization.single
    before, between = len(frame.before), len(frame.between)
    types = frame.types
    ids = [*frame.before, *first, *frame.between, *(second if pair else ()), *frame.after]
    kinds = [*types[:before], *[frame.text_types[0]] * len(first), *types[before : before + between]]
    kinds += [*[frame.text_types[-1]] * (len(second) if pair else 0), *types[before + between :]]
    return ids, kinds


def _pairs() -> Iterator[tuple[str, str]]:
    yield "Hello there", "general"
    yield "", ""
    yield "a", ""
    yield "", "b c"
