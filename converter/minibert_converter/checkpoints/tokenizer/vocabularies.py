"""The vocabulary of a tokenizer: out of tokenizer.json, or out of the files that older checkpoints have."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer.sentence_piece import CONTROL, USER_DEFINED, read_sentence_piece
from minibert_converter.checkpoints.tokenizer.settings import Settings

#: The models of the tokenizers library.
Kind = Literal["WordPiece", "BPE", "Unigram"]


@dataclass(frozen=True)
class Vocabulary:
    """Pieces, and what comes with them.

    Attributes:
        ids: piece -> id, but for Unigram models.
        scores: of a Unigram model each piece with its score, by id.
        merges: of BPE, in order.
        unknown: id of the piece for what is unknown, where the source says it.
        characters: the table of a Precompiled normalizer, where there is one.
        special: tokens that the source marks as special.
        source: the file, for messages.
    """

    source: str
    ids: dict[str, int] = field(default_factory=dict)
    scores: list[tuple[str, float]] = field(default_factory=list)
    merges: Sequence[tuple[str, str]] = ()
    unknown: int | None = None
    characters: bytes = b""
    special: Sequence[AddedToken] = ()


def read_vocabulary(
    settings: Settings, kind: Kind, class_name: str, vocab_size: int, model_file: str = ""
) -> Vocabulary:
    """The vocabulary of a tokenizer whose model is of this kind.

    Args:
        settings: those of the folder.
        kind: the model that the tokenizer's class has.
        class_name: the class, for messages.
        vocab_size: rows of the word embedding table.
        model_file: the name of its SentencePiece model, where it has one.

    Raises:
        CheckpointError: there is none, or it is broken.
        UnsupportedError: it is of another kind.
    """
    if settings.stored is not None:
        return _stored_vocabulary(settings, kind, class_name)
    folder = settings.folder
    if kind == "WordPiece" and folder.has("vocab.txt"):
        settings.notes.append("built the tokenizer from vocab.txt, as there is no tokenizer.json")
        lines = _lines(folder, "vocab.txt", 2 * vocab_size)
        pieces = {token.removesuffix("\r"): index for index, token in enumerate(lines)}
        return Vocabulary(str(folder / "vocab.txt"), pieces)
    if kind == "BPE" and folder.has("vocab.json") and folder.has("merges.txt"):
        settings.notes.append("built the tokenizer from vocab.json and merges.txt, as there is no tokenizer.json")
        return _byte_level(folder)
    if model_file and folder.has(model_file):
        settings.notes.append(f"built the tokenizer from {model_file}, as there is no tokenizer.json")
        model = read_sentence_piece(folder.file(model_file))
        special = [
            AddedToken(piece, normalized=False, special=kind == CONTROL)
            for (piece, _), kind in zip(model.pieces, model.kinds, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
        where = str(folder / model_file)
        return Vocabulary(
            where, scores=model.pieces, unknown=model.unknown, characters=model.characters, special=special
        )
    raise no_tokenizer(folder, class_name, model_file)


def no_tokenizer(folder: Folder, class_name: str, model_file: str = "") -> CheckpointError:
    """The error for a folder without a tokenizer that can be read."""
    looked = model_file or "vocab.txt, or vocab.json with merges.txt"
    present = [
        name for name in folder.names() if name.startswith(("vocab", "merges")) or name.endswith((".model", ".codes"))
    ]
    return CheckpointError(
        f"{folder}: no tokenizer; looked for tokenizer.json, and for what a {class_name} is made of: {looked}. There "
        f"is {', '.join(present) or 'nothing of the kind'}. To have tokenizer.json written: "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) of transformers"
    )


def _stored_vocabulary(settings: Settings, kind: Kind, class_name: str) -> Vocabulary:
    assert settings.stored is not None
    where, model = str(settings.folder / "tokenizer.json"), settings.stored["model"]
    pieces = model["vocab"]
    found = model.get("type") or (
        "Unigram" if isinstance(pieces, list) else "BPE" if "merges" in model else "WordPiece"
    )
    if found != kind:
        raise UnsupportedError(
            f"{where}: holds a {found} model, but tokenizer_config.json says {class_name}, whose models are {kind}; "
            'to take the file as it is, let tokenizer_config.json say "tokenizer_class": "PreTrainedTokenizerFast"'
        )
    if isinstance(pieces, list):
        charsmaps = [part["precompiled_charsmap"] for part in _parts(settings.stored.get("normalizer"))]
        scores = [(str(piece), float(score)) for piece, score in pieces]
        return Vocabulary(where, scores=scores, characters=b64decode(charsmaps[0] or "") if charsmaps else b"")
    merges = []
    for merge in model.get("merges") or ():
        first, second = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((first, second))
    return Vocabulary(where, pieces, merges=merges)


def _parts(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The Precompiled ones among a normalizer's parts."""
    parts = (normalizer or {}).get("normalizers") or [normalizer or {}]
    return [part for part in parts if part.get("type") == "Precompiled"]


def _byte_level(folder: Folder) -> Vocabulary:
    """Byte-level BPE: a vocabulary, and its merges in order."""
    pieces = folder.json("vocab.json", most=MAX_TOKENIZER_BYTES)
    if not all(type(index) is int and index >= 0 for index in pieces.values()):
        raise CheckpointError(f"{folder / 'vocab.json'}: must map tokens to their ids")
    merges = []
    # Each merge makes a token, and hardly any token is made in two ways.
    for number, line in enumerate(_lines(folder, "merges.txt", 2 * len(pieces) + 1), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise CheckpointError(f"{folder / 'merges.txt'}: line {number} is not two tokens")
        merges.append((pair[0], pair[1]))
    return Vocabulary(str(folder / "vocab.json"), pieces, merges=merges)


def _lines(folder: Folder, name: str, most: int) -> list[str]:
    """The lines of a file, at most so many: each takes far more memory than its bytes on the disk."""
    text = folder.text(name, MAX_TOKENIZER_BYTES).removesuffix("\n")
    if text.count("\n") >= most:
        raise CheckpointError(f"{folder / name}: has {text.count(chr(10)) + 1} lines, but at most {most} can be of use")
    return text.split("\n") if text else []


def unknown_id(model: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    """The token for what a vocabulary lacks, by `model` of tokenizer.json; None where there is none."""
    if model.get("type") == "Unigram":
        return model.get("unk_id")
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)
