"""Tokens to text: WordPiece's decoder itself, and others by the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from minibert.forking import unforked

#: What tokens are joined with that a writer would not have put there, and what they then are.
_CLEANED = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")),
    *((" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


def decoder(settings: dict[str, Any] | None) -> Callable[[list[str]], str]:
    """What makes a text of tokens' names.

    Args:
        settings: the decoder of a tokenizer.json; None joins names by spaces.

    Raises:
        FormatError: the library cannot read it, or it asks for unbounded work; from what is returned, if it fails.
    """
    if settings is None:
        return " ".join
    if settings.get("type") == "WordPiece":
        return _WordPiece(settings["prefix"], settings["cleanup"])
    with unforked():
        from minibert.text.library_tokenizer import guarded, proven_library

    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    with unforked(), guarded():
        decode = proven_library(json.dumps({"model": model, "decoder": settings})).decoder.decode

    def by_the_library(tokens: list[str]) -> str:
        with guarded():
            return decode(tokens)

    return by_the_library


class _WordPiece:
    def __init__(self, prefix: str, cleanup: bool) -> None:
        self._prefix, self._cleanup = prefix, cleanup

    def __call__(self, tokens: list[str]) -> str:
        made = []
        for number, token in enumerate(tokens):
            if number:
                token = token[len(self._prefix) :] if token.startswith(self._prefix) else f" {token}"
            for before, after in _CLEANED if self._cleanup else ():
                token = token.replace(before, after)
            made.append(token)
        return "".join(made)
