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
    """
    if settings is None:
        return " ".join
    if settings.get("type") == "WordPiece":
        return _WordPiece(settings["prefix"], settings["cleanup"])
    with unforked():
        from tokenizers import Tokenizer

    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    return Tokenizer.from_str(json.dumps({"model": model, "decoder": settings})).decoder.decode


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
