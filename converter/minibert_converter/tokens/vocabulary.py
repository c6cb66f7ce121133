"""The model of a tokenizer.json, WordPiece, Unigram or BPE, as a trie of its pieces."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from minibert.format import token_tables as tt
from minibert.format.pieces import written_scores
from minibert.format.token_tables import TrieSize
from minibert.format.tokenizer import BYTE_LETTERS
from minibert_converter.tokens.refusal import NoTables
from minibert_converter.tokens.tries import build_trie

Array = npt.NDArray[Any]
_LETTER_BYTES = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}


class Vocabulary(NamedTuple):
    """A model as tables.

    Attributes:
        settings: keys of `Tokenization` that say what the model does.
        sizes: those that say how large the tables are.
        tensors: the tables.
        rest: what of the model's JSON they leave over.
    """

    settings: dict[str, Any]
    sizes: dict[str, TrieSize]
    tensors: dict[str, Array]
    rest: dict[str, Any]


def vocabulary(model: dict[str, Any], library: Tokenizer, *, byte_level: bool, vocab_size: int) -> Vocabulary:
    """Tables of a model.

    Args:
        model: that of a tokenizer.json.
        library: what the library made of the tokenizer.json.
        byte_level: whether its pieces stand for bytes.
        vocab_size: words that the network has.

    Raises:
        NoTables: it does what tables cannot say.
    """
    kind = model.get("type")
    if model.get("dropout"):
        raise NoTables("it drops merges by chance")
    if kind == "WordPiece" and not byte_level:
        return _wordpiece(model, vocab_size)
    if kind == "Unigram" and not byte_level:
        return _unigram(model, library, vocab_size)
    if kind == "BPE":
        return _bpe(model, byte_level, vocab_size)
    raise NoTables(f"its model {kind} has none")


def _trie(pieces: dict[bytes, int], vocab_size: int) -> tuple[TrieSize, dict[str, Array], npt.NDArray[np.int64]]:
    """The trie of pieces with their ids."""
    keys = [*pieces]
    if any(not 0 < len(piece) <= tt.MAX_PIECE_BYTES for piece in keys):
        raise NoTables("a piece of its vocabulary is empty or very long")
    if len(set(pieces.values())) < len(pieces) or max(pieces.values(), default=0) >= vocab_size:
        raise NoTables("its vocabulary has two pieces of one id, or ids that the model has not")
    size, tensors, order = build_trie(tt.PIECES, keys)
    ids = np.array([*pieces.values()], np.int64)[order]
    tensors[tt.IDS] = ids.astype(np.uint16 if vocab_size <= 1 << 16 else np.int32)
    return size, tensors, order


def _wordpiece(model: dict[str, Any], vocab_size: int) -> Vocabulary:
    vocab, prefix = model["vocab"], model["continuing_subword_prefix"]
    most = model["max_input_chars_per_word"]
    if model["unk_token"] not in vocab or most > tt.MAX_WORD:
        raise NoTables("its vocabulary has no unknown token, or its words may be very long")
    size, tensors, _ = _trie({piece.encode(): id for piece, id in vocab.items()}, vocab_size)
    settings = {"model": "wordpiece", "unknown_id": vocab[model["unk_token"]], "prefix": prefix, "max_word": most}
    return Vocabulary(settings, {"pieces": size}, tensors, {"vocab": {}})


def _unigram(model: dict[str, Any], library: Tokenizer, vocab_size: int) -> Vocabulary:
    vocab, unknown = model["vocab"], model.get("unk_id")
    pieces = {piece.encode(): id for id, (piece, _) in enumerate(vocab)}
    if unknown is None or len(pieces) < len(vocab):
        raise NoTables("its vocabulary has no unknown token, or a piece twice")
    # The library's own scores, for it reads many digits with an error in the last bit: between ways to take "....."
    # apart that are as good as one another, that bit chooses.
    scores = np.array([score for _, score in json.loads(library.model.__getstate__())["vocab"]], np.float64)
    if not np.isfinite(scores).all() or scores.min() > 0:
        raise NoTables("its pieces have scores of an unusual kind")
    unknown_piece = vocab[unknown][0]
    if any(unknown_piece in piece for id, (piece, _) in enumerate(vocab) if id != unknown):
        raise NoTables("its unknown token is part of another piece")
    bytes_named = [f"<0x{byte:02X}>".encode() in pieces for byte in range(256)]
    if model.get("byte_fallback") and any(bytes_named) and not all(bytes_named):
        raise NoTables("its vocabulary has pieces for some bytes only")
    size, tensors, order = _trie(pieces, vocab_size)
    written = [float(score) for _, score in vocab]
    odd = np.flatnonzero(written_scores(scores) != written)
    scores = scores[order]
    exact = bool((scores.astype(np.float32) != scores).any())
    tensors[tt.SCORES] = scores.view(np.int32).reshape(-1, 2) if exact else scores.astype(np.float32)
    settings = {"model": "unigram", "unknown_id": unknown, "exact_scores": exact}
    settings["byte_pieces"] = bool(model.get("byte_fallback")) and all(bytes_named)
    rest = {"vocab": [[id, written[id]] for id in odd.tolist()]}
    return Vocabulary(settings, {"pieces": size}, tensors, rest)


def _bpe(model: dict[str, Any], byte_level: bool, vocab_size: int) -> Vocabulary:
    vocab: dict[str, int] = model["vocab"]
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise NoTables("its merges mark the inside or the end of words")
    spelt = {piece: _spelling(piece) if byte_level else piece.encode() for piece in vocab}
    left_over = {piece: vocab[piece] for piece, data in spelt.items() if data is None}
    pieces = {data: vocab[piece] for piece, data in spelt.items() if data is not None}
    fallback, unknown = bool(model.get("byte_fallback")), model.get("unk_token")
    named = [(bytes([byte]) if byte_level else f"<0x{byte:02X}>".encode()) in pieces for byte in range(256)]
    if byte_level and not all(named):
        raise NoTables("its vocabulary lacks a byte")
    if not byte_level and not (fallback and all(named)) and unknown not in vocab:
        raise NoTables("its vocabulary has neither an unknown token nor one for each byte")
    if not byte_level and fallback and not all(named):
        raise NoTables("its vocabulary has pieces for some bytes only")
    size, tensors, order = _trie(pieces, vocab_size)
    places = {data: place for place, data in enumerate(pieces)}
    merges = [tuple(each.split(" ")) if type(each) is str else tuple(each) for each in model["merges"]]
    ranks, splits = np.zeros(len(pieces), np.int64), np.zeros(len(pieces), np.int64)
    for rank, (left, right) in enumerate(merges):
        first, second = spelt.get(left), spelt.get(right)
        if first is None or second is None or first + second not in places:
            raise NoTables("its merges are of pieces that are not in the vocabulary")
        place = places[first + second]
        if splits[place] or len(first) > 255:
            raise NoTables("two of its merges make one piece, or a piece is very long")
        if not byte_level and fallback and (left.startswith("<0x") or right.startswith("<0x")):
            raise NoTables("its merges are of bytes")
        if not byte_level and not fallback and not all(_is_known(part, model) for part in (left, right)):
            raise NoTables("its merges are of unknown characters")
        ranks[place], splits[place] = rank, len(first)
    tensors[tt.RANKS] = ranks[order].astype(np.uint16 if len(merges) < 1 << 16 else np.int32)
    tensors[tt.SPLITS] = splits[order].astype(np.uint8)
    settings = {
        "model": "bpe",
        "unknown_id": vocab.get(unknown, -1) if unknown else -1,
        "whole_words": bool(model.get("ignore_merges")),
        "byte_level": byte_level,
        "byte_pieces": fallback and not byte_level,
        "fuse_unknown": bool(model.get("fuse_unk")),
        "merges": len(merges),
    }
    return Vocabulary(settings, {"pieces": size}, tensors, {"vocab": left_over, "merges": []})


def _is_known(part: str, model: dict[str, Any]) -> bool:
    """Whether a part of a merge never is the text of an unknown token, which may be several characters."""
    fused = model.get("fuse_unk") and len(part) > 1 and not any(char in model["vocab"] for char in part)
    return part != model.get("unk_token") and not fused


def _spelling(piece: str) -> bytes | None:
    """The bytes that a piece of a byte-level vocabulary stands for; None if it is spelt in another way."""
    found = [_LETTER_BYTES.get(letter, -1) for letter in piece]
    return bytes(found) if min(found, default=0) >= 0 else None
