"""What makes a tokenizer of a tokenizer.json: the library, and tables of it in the kernels and in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from tokenizers import Tokenizer as Library

from minibert.engine.library import kernels
from minibert.format import token_tables as tt
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.table_tokenizer import TableTokenizer
from minibert.text.tokenizer import TextSettings, Tokenizer
from minibert_converter.tokens.compile import compile_tokenizer

Maker = Callable[[str, TextSettings], Tokenizer]


def tables(text: str, settings: TextSettings, run: Callable[[int], None] | None = None) -> TableTokenizer:
    """A tokenizer of the tables of a tokenizer.json, as if a model file held them."""
    made = compile_tokenizer(text, max(Library.from_str(text).get_vocab().values()) + 1)
    file = SimpleNamespace(
        config=SimpleNamespace(text=SimpleNamespace(tables=made.tokenization)),
        token_tables=lambda: tt.expanded(made.tokenization, made.tensors),
        tokenizer_rest=lambda: json.loads(made.rest),
        tokenizer_json=lambda: text,
    )
    return TableTokenizer(cast("Any", file), settings, run)


MAKERS: dict[str, Maker] = {
    "library": LibraryTokenizer,
    "tables": lambda text, settings: tables(text, settings, kernels().run),
    "tables in Python": tables,
}
