"""Text to token ids by the tables of a file, in plain Python. Twin: minibert.kernels.tokens.

A text is a list of characters, each with the part of the text that it came from, and marks where a part begins; the
passes of the tokenizer go over it one by one, and at the end each part is a word, which the model takes apart.
What an `Encoding` of the tokenizers library says of offsets and words is said here too, quirks included.
"""

from __future__ import annotations

from minibert.reference.tokens.tokenize import TokenReference, Tokens

__all__ = ["TokenReference", "Tokens"]
