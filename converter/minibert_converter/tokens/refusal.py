"""What makes a tokenizer stay with the tokenizers library."""

from __future__ import annotations


class NoTables(Exception):  # noqa: N818 - the converter goes on
    """This tokenizer has no tables; says why, as the end of a sentence."""
