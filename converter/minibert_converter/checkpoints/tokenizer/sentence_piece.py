"""A SentencePiece model (Kudo and Richardson 2018, arXiv 1808.06226): its pieces, scores and table of characters.

The file is a protocol buffer; of its few fields that matter here each is a number, a byte string or a group of both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES

#: Numbers of fields: of the model, a piece, the trainer's settings and the normalizer's.
PIECES, TRAINER, NORMALIZER = 1, 2, 3
PIECE, SCORE, KIND = 1, 2, 3
MODEL_TYPE, UNKNOWN = 3, 40
CHARACTERS = 2
#: Kinds of pieces, and of models.
CONTROL, USER_DEFINED = 3, 4
UNIGRAM = 1


@dataclass(frozen=True)
class SentencePieceModel:
    """What such a file says.

    Attributes:
        pieces: each with its score, by id.
        kinds: the kind of each piece.
        unknown: id of the piece for what is unknown.
        characters: the table of the Precompiled normalizer; empty if there is none.
    """

    pieces: list[tuple[str, float]]
    kinds: list[int]
    unknown: int
    characters: bytes


def read_sentence_piece(path: Path) -> SentencePieceModel:
    """Reads a .model file of a Unigram language model.

    Raises:
        CheckpointError: the file is no such model.
        UnsupportedError: the model is of another kind, such as BPE.
    """
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise CheckpointError(f"{path}: larger than {MAX_TOKENIZER_BYTES} bytes, the limit")
    pieces, kinds, kind, unknown, characters = [], [], UNIGRAM, 0, b""
    try:
        for field, value in _fields(path.read_bytes()):
            if field == PIECES:
                piece = {PIECE: b"", SCORE: 0.0, KIND: 1, **dict(_fields(_group(value)))}
                pieces.append((_group(piece[PIECE]).decode(), float(piece[SCORE])))
                kinds.append(int(piece[KIND]))
            elif field == TRAINER:
                trainer = dict(_fields(_group(value)))
                kind, unknown = trainer.get(MODEL_TYPE, UNIGRAM), int(trainer.get(UNKNOWN, 0))
            elif field == NORMALIZER:
                characters = _group(dict(_fields(_group(value))).get(CHARACTERS, b""))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path}: not a SentencePiece model ({error})") from error
    if not pieces:
        raise CheckpointError(f"{path}: a SentencePiece model without pieces")
    if kind != UNIGRAM:
        raise UnsupportedError(f"{path}: a SentencePiece model of type {kind}; only Unigram (1) is supported")
    return SentencePieceModel(pieces, kinds, unknown, characters)


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a group, each a number and its value."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _number(data, place)
        elif wire == 1:
            (value,), place = struct.unpack_from("<d", data, place), place + 8
        elif wire == 2:
            size, place = _number(data, place)
            value, place = data[place : place + size], place + size
            if place > len(data):
                raise ValueError("cut short")
        elif wire == 5:
            (value,), place = struct.unpack_from("<f", data, place), place + 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        yield field, value


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of over ten bytes")


def _group(value: int | float | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where a string belongs")
    return value
