"""Token classification: texts, entities with the characters where they stand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

from minibert.model.base import BaseModel, ReadOptions
from minibert.tasks.tokens import Entity, TokenReader
from minibert.text.inputs import is_one, many
from minibert.text.packing import WINDOW

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TokenOptions(ReadOptions, total=False):
    """Options of `classify_tokens`."""

    aggregation_strategy: str
    ignore_labels: Collection[str]
    stride: int | None


class TokenClassification(BaseModel):
    """What a token-classification model does."""

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def classify_tokens(self, inputs: str, **options: Unpack[TokenOptions]) -> list[Entity]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def classify_tokens(self, inputs: Iterable[str], **options: Unpack[TokenOptions]) -> list[list[Entity]]: ...
    def classify_tokens(self, inputs: Any, **options: Unpack[TokenOptions]) -> list[Entity] | list[list[Entity]]:
        """Entities of one text or many, such as names of persons and places.

        Args:
            inputs: one text gives one list of entities, many give a list of such lists.
            options: `aggregation_strategy`: "none" (the default) for every token by itself; "simple" for neighbours
                of one label together; "first", "average" or "max" for whole words, labelled by their first token, by
                the mean of their tokens' scores or by their surest token. `ignore_labels`: what is left out,
                by default ["O"]. `stride`: read a long text in windows that share so many tokens; by default a text
                is cut at `max_length`. And how texts are cut and batched, see `ReadOptions`.

        Returns:
            Of each entity "entity" (the label) and "index" (the token's place), or "entity_group" (the label without
            B- and I-) if aggregated; "score", "word" (as the vocabulary spells it), and "start" and "end":
            `text[start:end]` is what the text itself says.

        Raises:
            InputError: inputs are no texts, an option makes no sense, or with `truncation=False` a text is too long.
            UnsupportedError: the model is none for token classification.
        """
        if is_one(inputs):
            return next(self._iter_classify_tokens([inputs], **options))
        return list(self._iter_classify_tokens(inputs, **options))

    def _iter_classify_tokens(
        self,
        inputs: Iterable[str],
        *,
        window: int = WINDOW,
        aggregation_strategy: str = "none",
        ignore_labels: Collection[str] = ("O",),
        stride: int | None = None,
        **read: Unpack[ReadOptions],
    ) -> Iterator[list[Entity]]:
        """`classify_tokens`, window by window."""
        self.need("token-classification")
        limits = self.pipeline.limits(**read)
        reader = TokenReader(self.labels, self.tokenizer, aggregation_strategy, ignore_labels, stride)
        return self.pipeline.answers(many(inputs), reader, limits, window=window)
