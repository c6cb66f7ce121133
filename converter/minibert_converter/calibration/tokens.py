"""Texts that stand for those to come: where they come from, and their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar

from minibert.errors import InputError
from minibert.text.library_tokenizer import LibraryTokenizer
from minibert.text.packing import pack
from minibert.text.tokenizer import TextSettings, Tokenizer
from minibert_converter.network import Network

#: More texts than this teach nothing new; of more, so many are taken at even distances.
MAX_TEXTS = 1024
#: More tokens than this are not taken either: the rows of all of them lie in memory.
MAX_TOKENS = 32768
#: Where outputs are all that is kept, so many texts are taken.
MAX_OUTPUT_TEXTS = 4096
#: Tokens that go through the network at once: the rows of the widest layer then stay in the cache.
_CHUNK_TOKENS = 1024
#: Texts that go through it at once where they keep their order.
_CHUNK_TEXTS = 32

#: Token ids and segment ids of some texts.
Chunk = tuple[list[list[int]], list[list[int]]]
T = TypeVar("T")


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids and segment ids."""

    ids: list[list[int]]
    types: list[list[int]]

    @property
    def count(self) -> int:
        """Tokens of all texts."""
        return sum(map(len, self.ids))

    def sample(self, texts: int) -> Tokens:
        """So many of the texts, at even distances."""
        return Tokens(evenly(self.ids, texts), evenly(self.types, texts))

    def chunks(self) -> list[Chunk]:
        """Parts of about _CHUNK_TOKENS tokens, texts of like length together."""
        parts = pack([len(one) for one in self.ids], batch_size=_CHUNK_TOKENS, max_tokens=_CHUNK_TOKENS)
        return [([self.ids[i] for i in part], [self.types[i] for i in part]) for part in parts]

    def chunks_in_order(self) -> list[Chunk]:
        """Parts of _CHUNK_TEXTS texts, one after another as they were given."""
        parts = [slice(first, first + _CHUNK_TEXTS) for first in range(0, len(self.ids), _CHUNK_TEXTS)]
        return [(self.ids[part], self.types[part]) for part in parts]


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of some things, at even distances."""
    count = min(len(items), most)
    return [items[i * len(items) // count] for i in range(count)]


def tokenizer_of(network: Network, max_length: int | None = None) -> Tokenizer:
    """A network's tokenizer, which cuts texts at `max_length` tokens; None is the network's own limit."""
    text = {name: value for name, value in vars(network.text).items() if name != "tables"}
    text |= {"max_length": max_length} if max_length else {}
    return LibraryTokenizer(network.tokenizer_json, TextSettings(token_types=network.architecture.token_types, **text))


def builtin_texts() -> list[str]:
    """The sentences that ship with the converter; calibration.txt says where each comes from."""
    content = resources.files("minibert_converter").joinpath("calibration.txt").read_text(encoding="utf-8")
    return [line for line in content.split("\n") if line and not line.startswith("# ")]


def tokenize(
    network: Network, texts: Sequence[str] | None, most: int = MAX_TEXTS, most_tokens: int | None = MAX_TOKENS
) -> Tokens:
    """Token ids of texts, each cut at the model's longest text.

    Args:
        network: whose tokenizer reads them.
        texts: some of them are taken, at even distances; None takes the sentences that ship with the converter.
        most: texts to take.
        most_tokens: tokens to take, of all texts together; None takes all.

    Raises:
        InputError: there is no text with a token in it.
    """
    tokenizer = tokenizer_of(network)
    chosen = evenly(builtin_texts() if texts is None else texts, most)
    encoded = [one for text in chosen if (one := tokenizer.encode(text)).ids]
    if not encoded:
        raise InputError("calibration needs at least one text with a token in it")
    tokens = Tokens([one.ids for one in encoded], [one.type_ids or [0] * len(one.ids) for one in encoded])
    if most_tokens is None or tokens.count <= most_tokens:
        return tokens
    return tokens.sample(len(encoded) * most_tokens // tokens.count)
