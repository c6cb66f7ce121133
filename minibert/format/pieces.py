"""The pieces of a vocabulary, read back out of a file's tables: their names, and the tokenizer.json they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import FormatError
from minibert.format import token_tables as tt
from minibert.format.token_tables import Tokenization
from minibert.format.tokenizer import BYTE_LETTERS
from minibert.format.values import parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Pieces:
    """The pieces of a vocabulary by their ids.

    Args:
        tables: what the config says of them.
        tensors: those of `token_tensors`, proven.
    """

    def __init__(self, tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tables, self._tensors = tables, tensors
        blocks = tensors[f"{tt.PIECES}.blocks"]
        self._first = tt.first_children(blocks, tensors[f"{tt.PIECES}.first"])
        self._nodes = tt.key_nodes(blocks)
        self._order = np.argsort(tensors[tt.IDS], kind="stable")
        self._ids = tensors[tt.IDS][self._order]

    def __getitem__(self, id: int) -> str | None:
        """What the vocabulary calls a token; None if it is none of the vocabulary."""
        place = int(np.searchsorted(self._ids, id))
        if place == len(self._ids) or self._ids[place] != id:
            return None
        return self._spelt(self._bytes(int(self._nodes[self._order[place]])))

    def _bytes(self, node: int) -> bytes:
        labels = self._tensors[f"{tt.PIECES}.labels"]
        found = bytearray()
        while node:
            found.append(int(labels[node]))
            # Children begin at `first`: the parent is the last node that begins at or before this one, and has any.
            node = int(np.searchsorted(self._first[: self._tables.pieces.nodes + 1], node, "right")) - 1
        return bytes(reversed(found))

    def _spelt(self, data: bytes) -> str:
        if self._tables.byte_level:
            return "".join([BYTE_LETTERS[byte] for byte in data])
        return data.decode("utf-8", "replace")

    def all(self) -> list[str]:
        """All pieces, in the order of the trie's keys."""
        labels = self._tensors[f"{tt.PIECES}.labels"].tobytes()
        nodes = self._tables.pieces.nodes
        counts = np.diff(self._first[: nodes + 1])
        parents = np.arange(nodes).repeat(counts).tolist()
        found = [b""]
        for node, parent in enumerate(parents, 1):
            found.append(found[parent] + labels[node : node + 1])
        return [self._spelt(found[node]) for node in self._nodes.tolist()]


def written_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a tokenizer.json probably says of scores.

    The tokenizers library reads numbers of many digits with an error in the last bit. Scores were float32 where they
    came from sentencepiece: there the error is seen and undone.
    """
    with np.errstate(over="ignore"):
        single = scores.astype(np.float32).astype(np.float64)
    return np.where(np.abs(single - scores) <= np.abs(scores) * 2.0**-50, single, scores)


def restored_json(rest: str, tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> str:
    """A tokenizer.json with all that its tables say put back.

    Args:
        rest: what the file holds of it.
        tables: what the config says of the tables.
        tensors: those of `token_tensors`, proven.

    Returns:
        A tokenizer.json that says what the one said from which the tables were made.

    Raises:
        FormatError: what the file holds of it is no tokenizer.json without what the tables say.
    """
    settings = proven_rest(rest, tables)
    model = settings["model"]
    left_over = model["vocab"]
    pieces, ids = Pieces(tables, tensors).all(), tensors[tt.IDS]
    order = np.argsort(ids, kind="stable").tolist()
    if tables.model == "unigram":
        scores = written_scores(tt.scores_of(tensors)[order].astype(np.float64)).tolist()
        for id, score in left_over or ():
            scores[id] = score
        model["vocab"] = [[pieces[key], score] for key, score in zip(order, scores, strict=True)]
    else:
        vocab = {pieces[key]: id for key, id in zip(order, ids[order].tolist(), strict=True)} | (left_over or {})
        model["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    if tables.model == "bpe":
        model["merges"] = _merges(pieces, tables, tensors)
    try:
        return json.dumps(settings, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise FormatError("tensor 'tokenizer.json' nests too many arrays or objects within one another") from None


def proven_rest(rest: str, tables: Tokenization) -> dict[str, Any]:
    """What a file with tables holds of a tokenizer.json.

    It is an object whose model, tokens beside the vocabulary and decoder are of the types that they always have. Of
    pieces the model holds what its tables have no place for: names and ids, or ids and scores of Unigram.

    Raises:
        FormatError: they are not.
    """
    settings = parse_json(rest, "tensor 'tokenizer.json'")
    model = settings.get("model") if type(settings) is dict else None
    if type(model) is not dict or not _is_left_over(model.get("vocab"), tables):
        raise FormatError("tensor 'tokenizer.json' has no model that its tables could be put into")
    added, decoder = settings.get("added_tokens") or [], settings.get("decoder")
    if type(added) is not list or not all(map(_is_added, added)):
        raise FormatError("tensor 'tokenizer.json' has added_tokens that are none")
    if decoder is not None and not _has(decoder, {"type": str}):
        raise FormatError("tensor 'tokenizer.json' has a decoder that is none")
    if decoder and decoder["type"] == "WordPiece" and not _has(decoder, {"prefix": str, "cleanup": bool}):
        raise FormatError("tensor 'tokenizer.json' has a decoder without prefix and cleanup")
    return settings


def _is_added(token: Any) -> bool:
    return _has(token, {"content": str, "id": int, "special": bool})


def _has(value: Any, kinds: Mapping[str, type]) -> bool:
    return type(value) is dict and all(type(value.get(key)) is kind for key, kind in kinds.items())


def _is_left_over(vocab: Any, tables: Tokenization) -> bool:
    """Whether this is what a file may hold of a vocabulary: scores with another last bit, or pieces without a place."""
    if tables.model != "unigram":
        return type(vocab) is dict and all(type(id) is int for id in vocab.values())
    ids = range(tables.pieces.keys)
    return type(vocab) is list and all(
        type(each) is list and len(each) == 2 and type(each[0]) is int and each[0] in ids and type(each[1]) is float
        for each in vocab
    )


def _merges(pieces: list[str], tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> list[list[str]]:
    splits, ranks = tensors[tt.SPLITS], tensors[tt.RANKS]
    merged = np.flatnonzero(splits)
    found = []
    for key in merged[np.argsort(ranks[merged], kind="stable")].tolist():
        piece, split = pieces[key], int(splits[key])
        if tables.byte_level:
            found.append([piece[:split], piece[split:]])
        else:
            data = piece.encode()
            found.append([data[:split].decode("utf-8", "replace"), data[split:].decode("utf-8", "replace")])
    return found
