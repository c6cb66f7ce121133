"""Tables of tokenizers that would lead whoever follows them out of their memory, round in circles, or to no words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format import token_proof
from minibert.format import token_tables as tt
from minibert.format.record import as_json
from minibert.format.token_proof import prove_tokens
from minibert.format.token_tables import Pass, Tokenization, TrieSize, expanded, token_tensors
from minibert_converter.tokens.tries import build_trie
from tests.format.tokenizers import NAMES, VOCAB_SIZE, small_tables

Tensors = dict[str, np.ndarray]


def victim(name: str) -> tuple[Tokenization, Tensors]:
    """Tables that nothing is wrong with, to be written into."""
    found = small_tables(name)
    tensors = expanded(found.tokenization, found.tensors)
    return found.tokenization, {key: tensor.copy() for key, tensor in tensors.items()}


def refused(tables: Tokenization, tensors: Tensors, *words: str) -> None:
    with pytest.raises(FormatError) as caught:
        prove_tokens(tables, tensors, VOCAB_SIZE)
    for word in words:
        assert word in str(caught.value)


def unread(tables: Tokenization, *words: str) -> None:
    """The config alone is refused."""
    with pytest.raises(FormatError) as caught:
        Tokenization.from_json(as_json(tables), "config.text.tables")
    for word in ("config.text.tables", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_victims_are_proven(name):
    tables, tensors = victim(name)
    prove_tokens(tables, tensors, VOCAB_SIZE)
    assert Tokenization.from_json(as_json(tables), "") == tables
    specs = token_tensors(tables, VOCAB_SIZE)
    assert {key: tensor.shape for key, tensor in small_tables(name).tensors.items()} == {
        key: spec.shape for key, spec in specs.items()
    }


def _at_the_end(first: np.ndarray, blocks: np.ndarray, nodes: int) -> None:
    first[nodes] += 1


def _before(first: np.ndarray, blocks: np.ndarray, nodes: int) -> None:
    first[2] = first[1] - 1


def _own_child(first: np.ndarray, blocks: np.ndarray, nodes: int) -> None:
    blocks[:, 2] = 0
    first[: nodes + 1] = [1, *range(1, nodes), nodes]


def _beyond_int32(first: np.ndarray, blocks: np.ndarray, nodes: int) -> None:
    blocks[0, 2] = 2**31 - 1
    first[1:64] = 65535


def _negative(first: np.ndarray, blocks: np.ndarray, nodes: int) -> None:
    blocks[1, 2] = -(2**31)


@pytest.mark.parametrize("change", [_at_the_end, _before, _own_child, _beyond_int32, _negative])
@pytest.mark.parametrize("trie", [tt.PIECES, tt.ADDED[0]])
def test_children_elsewhere(change: Callable[..., None], trie: str):
    tables, tensors = victim("bytes")
    if change is _negative and len(tensors[f"{trie}.blocks"]) == 1:
        return
    change(tensors[f"{trie}.first"], tensors[f"{trie}.blocks"], tt.tries(tables)[trie].nodes)
    refused(tables, tensors, f"'{trie}.first'")


def test_children_that_go_far_away_and_come_back_with_int32():
    """A sum of steps that is right again after 2**32: each place between is somewhere else."""
    nodes = 1 << 20
    size, steps = TrieSize(nodes, 0), np.full(nodes, 256, np.int64)
    blocks = np.zeros((tt.trie_room(nodes) // tt.BLOCK_NODES, 4), np.int32)
    first = np.resize(np.concatenate([[1], 1 + np.cumsum(steps)]), 64 * len(blocks))
    blocks[:, 2] = first[::64] & 0x7FFFFFFF
    offsets = (first - first[::64].repeat(64)).clip(0, 65535).astype(np.uint16)
    with pytest.raises(FormatError, match="are not its nodes"):
        token_proof._prove_trie("x", size, {"x.blocks": blocks, "x.first": offsets})


@pytest.mark.parametrize(("row", "column", "bit"), [(0, 0, 0), (-1, 1, 30)])
def test_keys_at_the_root_or_behind_the_last_node(row, column, bit):
    tables, tensors = victim("words")
    blocks = tensors[f"{tt.PIECES}.blocks"]
    blocks[row, column] |= 1 << bit
    refused(tables, tensors, f"'{tt.PIECES}.blocks' does not count")
    blocks[:, 3] += np.arange(len(blocks)) > 0 if row == 0 else 0
    refused(replace(tables, pieces=replace(tables.pieces, keys=tables.pieces.keys + 1)), tensors, "root")


def test_keys_that_are_not_counted():
    tables, tensors = victim("words")
    for value in (-1, 1, 2**31 - 1):
        tensors[f"{tt.PIECES}.blocks"][-1, 3] = value
        refused(tables, tensors, f"'{tt.PIECES}.blocks'")


@pytest.mark.parametrize("keys", [[b"x" * 4097], [bytes([n // 256, n % 256]) + b"x" * 4000 for n in range(20_000)]])
def test_keys_that_are_long_or_many(keys):
    size, trie, _ = build_trie(tt.PIECES, keys[:1] if len(keys) == 1 else keys)
    with pytest.raises(FormatError, match="longer than 4096 bytes"):
        token_proof._prove_trie(tt.PIECES, size, trie)


@pytest.mark.parametrize("name", ["bytes", "unigram of bytes", "characters and bytes"])
def test_a_byte_without_a_piece(name):
    tables, tensors = victim(name)
    labels = tensors[f"{tt.PIECES}.labels"]
    labels[np.flatnonzero(labels == (0x41 if name == "bytes" else ord("F")))] = 0x40
    refused(tables, tensors, f"'{tt.PIECES}.labels'", "byte")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("characters", {"unknown_id": -1}),
        ("unigram of bytes", {"unknown_id": -1}),
        ("words", {"unknown_id": -1}),
        ("words", {"byte_level": True}),
        ("words", {"byte_pieces": True}),
        ("bytes", {"byte_pieces": True}),
        ("words", {"columns": 0}),
        ("bytes", {"columns": 0}),
        ("bytes", {"rows": 0}),
        ("bytes", {"packed": 0}),
        ("characters", {"columns": 2}),
        ("characters", {"compositions": None, "passes": (Pass("normal-form", column=0, classes=1, compose=True),)}),
        ("words", {"passes": (Pass("added"),)}),
        ("words", {"passes": (Pass("split", column=0),)}),
        ("words", {"passes": (Pass("replace"),)}),
        ("words", {"passes": (Pass("metaspace", pattern="ab"),)}),
        ("words", {"passes": (Pass("prepend", content="a", unless="bc"),)}),
        ("words", {"passes": (Pass("map"),)}),
        ("words", {"passes": (Pass("replace", pattern="a", column=0),)}),
    ],
)
def test_settings_that_read_what_is_not_there(name, changes: dict[str, Any]):
    unread(replace(small_tables(name).tokenization, **changes))


def test_ids_of_no_words():
    tables, tensors = victim("bytes")
    for name in (tt.IDS, f"{tt.ADDED[0]}.ids"):
        spoiled = tensors | {name: tensors[name].copy()}
        spoiled[name][-1] = VOCAB_SIZE
        refused(tables, spoiled, f"'{name}'")
    tensors[f"{tt.ADDED[0]}.ids"][0] = -5
    refused(tables, tensors, f"'{tt.ADDED[0]}.ids'")
    tables, tensors = victim("bytes")
    frame = replace(tables.single, before=(VOCAB_SIZE,), after=(), types=(0,))
    refused(replace(tables, single=frame), tensors, "frame")
    refused(replace(tables, unknown_id=VOCAB_SIZE), tensors, "unknown_id")


def test_splits_and_ranks():
    tables, tensors = victim("bytes")
    merged = int(np.flatnonzero(tensors[tt.SPLITS])[0])
    for value in (2, 255):
        spoiled = tensors | {tt.SPLITS: tensors[tt.SPLITS].copy()}
        spoiled[tt.SPLITS][merged] = value
        refused(tables, spoiled, f"'{tt.SPLITS}'")
    tensors[tt.RANKS][merged] = tables.merges
    refused(tables, tensors, f"'{tt.RANKS}'")


def test_scores_that_are_no_numbers():
    tables, tensors = victim("unigram")
    tensors[tt.SCORES].reshape(-1)[:] = -1  # NaN as the halves of a float64, too
    if tensors[tt.SCORES].ndim == 1:
        tensors[tt.SCORES][0] = np.nan
    refused(tables, tensors, f"'{tt.SCORES}'")


@pytest.mark.parametrize("part", [tt.PAGES, tt.RECORDS, tt.COLUMNS, f"{tt.CLUSTERS}.values"])
def test_characters_elsewhere(part):
    tables, tensors = victim("clusters")
    tensors[part].reshape(-1)[-1] = 65535
    refused(tables, tensors, part)


@pytest.mark.parametrize("value", [-1, 0xD800, 0x110000 | tt.LAST, 1 << 30, 0])
def test_sequences_that_do_not_end_or_are_no_characters(value):
    tables, tensors = victim("clusters")
    tensors[tt.SEQUENCES][-1] = value
    refused(tables, tensors, f"'{tt.SEQUENCES}'")


def test_replacements_where_there_are_no_sequences():
    tables, tensors = victim("clusters")
    tensors[tt.SEQUENCES] = np.zeros(0, np.int32)
    refused(replace(tables, sequences=0), tensors, "behind the last sequence")


def test_classes_that_a_pass_does_not_know():
    tables, tensors = victim("bert")
    split = tables.passes[-1]
    cut = replace(tables, passes=(*tables.passes[:-1], replace(split, cuts=split.cuts[:-1])))
    refused(cut, tensors, f"'{tt.COLUMNS}[{split.column}]'")
    refused(replace(tables, passes=(Pass("normal-form", column=0, classes=1),)), tensors, f"'{tt.COLUMNS}[1]'")


def test_texts_that_grow_and_grow():
    tables, tensors = victim("words")
    grows = Pass("replace", pattern="a", content="a" * 64)
    prove_tokens(replace(tables, passes=(*tables.passes, grows)), tensors, VOCAB_SIZE)
    refused(replace(tables, passes=(grows, grows)), tensors, "4096 times as long", "2048")
    # One character becomes sixteen, three times.
    tables, tensors = victim("clusters")
    tensors[tt.SEQUENCES][:] = 97
    tensors[tt.SEQUENCES][-1] |= tt.LAST
    refused(replace(tables, passes=tables.passes[:1] * 4), tensors, "times as long")


@pytest.mark.parametrize("missing", [0, 1, 100])
def test_a_stream_that_is_cut_short(missing):
    found = small_tables("bert")
    stream = found.tensors[tt.CHARACTERS]
    for spoiled in (stream[: missing - 1 if missing else 0], np.concatenate([stream, stream])):
        with pytest.raises(FormatError, match=f"'{tt.CHARACTERS}' is damaged"):
            expanded(found.tokenization, {**found.tensors, tt.CHARACTERS: np.ascontiguousarray(spoiled)})
    with pytest.raises(FormatError, match="not one zlib stream of"):
        expanded(replace(found.tokenization, records=found.tokenization.records - 1), found.tensors)
