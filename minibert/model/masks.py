"""Fill-mask: a text with a mask, tokens that may stand there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minibert.model.base import BaseModel, ReadOptions
from minibert.tasks.masks import MaskReader
from minibert.text.inputs import is_one, many
from minibert.text.packing import WINDOW

if TYPE_CHECKING:
    from typing_extensions import Unpack


class FillOptions(ReadOptions, total=False):
    """Options of `fill_mask`."""

    targets: str | Sequence[str] | None
    top_k: int


class FillMask(BaseModel):
    """What a fill-mask model does."""

    def fill_mask(self, inputs: str | Iterable[str], **options: Unpack[FillOptions]) -> list[Any]:
        """The likeliest tokens for the masks ([MASK] or <mask>) of one text or many.

        Args:
            inputs: one text gives one result, many give a list.
            options: `top_k`: so many tokens for each mask (default 5). `targets`: the only tokens to choose from,
                each a single token of the vocabulary; their scores remain those among the whole vocabulary. And how
                texts are cut and batched, see `ReadOptions`.

        Returns:
            `[{"score": float, "token": int, "token_str": str, "sequence": str}, ...]`, best first; for a text of
            several masks such a list for each.

        Raises:
            InputError: inputs are no texts, one has no mask, or a target is no token.
            UnsupportedError: the model is none for fill-mask.
        """
        if is_one(inputs):
            return next(self._iter_fill_mask([inputs], **options))  # pyright: ignore[reportArgumentType]
        return list(self._iter_fill_mask(inputs, **options))

    def _iter_fill_mask(
        self,
        inputs: Iterable[str],
        *,
        window: int = WINDOW,
        targets: str | Sequence[str] | None = None,
        top_k: int = 5,
        **read: Unpack[ReadOptions],
    ) -> Iterator[list[Any]]:
        """`fill_mask`, window by window."""
        self.need("fill-mask")
        reader = MaskReader(self.tokenizer, targets, top_k)
        return self.pipeline.answers(many(inputs), reader, self.pipeline.limits(**read), window=window)
