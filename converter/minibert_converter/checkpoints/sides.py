"""How a model of one vector a token reads queries and documents, as checkpoints say it: tokens by their names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from minibert.errors import UnsupportedError
from minibert.format.schema import Side, Task
from minibert_converter.checkpoints.tokenizer.vocabularies import unknown_id

#: What a tokenizer calls its mask.
MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class NamedSide:
    """A `Side` whose tokens are still names.

    Attributes:
        max_length: tokens; None for as many as the model reads.
        prefix: a token that is put behind a text's first one.
        fill_to: tokens up to which shorter texts are filled.
        fill_token: the token for that; None for the tokenizer's mask.
        attend_to_fill: whether filling is attended to.
        skip: words that have no vectors.
    """

    max_length: int | None = None
    prefix: str | None = None
    fill_to: int = 0
    fill_token: str | None = None
    attend_to_fill: bool = False
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sides:
    """How queries and documents are read.

    Attributes:
        where: the file that says so, for messages.
        query: how queries are.
        document: how documents are.
        unknown_counts: whether a word to skip that the vocabulary lacks stands for its unknown token, as in PyLate.
    """

    where: str
    query: NamedSide
    document: NamedSide
    unknown_counts: bool = True

    def resolved(self, task: Task, tokenizer_json: str, max_length: int, most: int) -> Task:
        """The task with both sides, tokens by their ids.

        Args:
            task: the rest of it.
            tokenizer_json: the tokenizer.
            max_length: tokens to which texts are cut where a side does not say it.
            most: positions of the model.

        Raises:
            UnsupportedError: a token that is needed is not in the vocabulary.
        """
        tokenizer = Tokenizer.from_str(tokenizer_json)
        unknown = unknown_id(json.loads(tokenizer_json)["model"], tokenizer) if self.unknown_counts else None
        return replace(
            task,
            query=self._side(self.query, tokenizer, unknown, max_length, most),
            document=self._side(self.document, tokenizer, unknown, max_length, most),
        )

    def _side(self, side: NamedSide, tokenizer: Tokenizer, unknown: int | None, max_length: int, most: int) -> Side:
        skipped = (tokenizer.token_to_id(word) for word in side.skip)
        skip = {unknown if id is None else id for id in skipped}
        return Side(
            max_length=min(side.max_length or max_length, most),
            prefix=None if side.prefix is None else self._id(tokenizer, [side.prefix], "prefix"),
            fill_to=min(side.fill_to, most),
            fill_token=self._id(tokenizer, [side.fill_token] if side.fill_token else MASKS, "mask")
            if side.fill_to
            else 0,
            attend_to_fill=side.attend_to_fill,
            skip=tuple(sorted(id for id in skip if id is not None)),
        )

    def _id(self, tokenizer: Tokenizer, names: Sequence[str], what: str) -> int:
        found = next((id for name in names if (id := tokenizer.token_to_id(name)) is not None), None)
        if found is None:
            raise UnsupportedError(f"{self.where}: the vocabulary lacks the {what} token, {' or '.join(names)}")
        return found
