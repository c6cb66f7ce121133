"""Texts that stand for those to come: where they come from, and their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from minibert.errors import InputError
from minibert.text.packing import pack
from minibert.text.tokenizer import Tokenizer
from minibert_converter.network import Network

#: More texts than this teach nothing new; of more, so many are taken at even distances.
MAX_TEXTS = 1024
#: More tokens than this are not taken either: the rows of all of them lie in memory.
MAX_TOKENS = 32768
#: Tokens that go through the network at once: the rows of the widest layer then stay in the cache.
_CHUNK_TOKENS = 1024


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
        count = min(texts, len(self.ids))
        chosen = [i * len(self.ids) // count for i in range(count)]
        return Tokens([self.ids[i] for i in chosen], [self.types[i] for i in chosen])

    def chunks(self) -> list[tuple[list[list[int]], list[list[int]]]]:
        """Ids and types in parts of about _CHUNK_TOKENS tokens, texts of like length together."""
        parts = pack([len(one) for one in self.ids], batch_size=_CHUNK_TOKENS, max_tokens=_CHUNK_TOKENS)
        return [([self.ids[i] for i in part], [self.types[i] for i in part]) for part in parts]


def builtin_texts() -> list[str]:
    """The sentences that ship with the converter; calibration.txt says where each comes from."""
    content = resources.files("minibert_converter").joinpath("calibration.txt").read_text(encoding="utf-8")
    return [line for line in content.split("\n") if line and not line.startswith("# ")]


def tokenize(network: Network, texts: Sequence[str] | None, most: int = MAX_TEXTS) -> Tokens:
    """Token ids of texts, each cut at the model's longest text.

    Args:
        network: whose tokenizer reads them.
        texts: at most `most` of them are taken, and MAX_TOKENS tokens, at even distances; None takes the sentences
            that ship with the converter.
        most: texts to take.

    Raises:
        InputError: there is no text with a token in it.
    """
    texts = builtin_texts() if texts is None else texts
    if len(texts) > most:
        texts = [texts[i * len(texts) // most] for i in range(most)]
    tokenizer = Tokenizer(
        network.tokenizer_json, max_length=network.text.max_length, token_types=network.architecture.token_types
    )
    encoded = [one for text in texts if (one := tokenizer.encode(text)).ids]
    if not encoded:
        raise InputError("calibration needs at least one text with a token in it")
    tokens = Tokens([one.ids for one in encoded], [one.type_ids or [0] * len(one.ids) for one in encoded])
    return tokens if tokens.count <= MAX_TOKENS else tokens.sample(len(encoded) * MAX_TOKENS // tokens.count)
