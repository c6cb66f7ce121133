"""Zero-shot classification: labels chosen when the text comes, by a model of natural language inference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import InputError
from minibert.model.base import BaseModel, ReadOptions
from minibert.tasks.zero_shot import TEMPLATE, ZeroShot
from minibert.text.inputs import is_one, many, split
from minibert.text.packing import WINDOW

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ZeroShotOptions(ReadOptions, total=False):
    """Options of `zero_shot` beside the labels."""

    hypothesis_template: str
    multi_label: bool


class ZeroShotClassification(BaseModel):
    """What a text-classification model does that was trained for natural language inference."""

    def zero_shot(
        self, inputs: str | Iterable[str], candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> Any:
        """Which of some labels fit one text or many, though the model was not trained on these labels.

        Args:
            inputs: one text gives one result, many give a list.
            candidate_labels: what to choose from, as a list or separated by commas.
            options: `hypothesis_template`: a sentence with {} where the label goes (default "This example is {}.").
                `multi_label`: whether any number of labels may be true (default False: scores add up to 1). And how
                texts are cut and batched, see `ReadOptions`.

        Returns:
            `{"sequence": str, "labels": list[str], "scores": list[float]}`, best first.

        Raises:
            InputError: inputs are no texts, no labels, or a template without {}.
            UnsupportedError: the model has no label "entailment".
        """
        if is_one(inputs):
            return next(self._iter_zero_shot([inputs], candidate_labels, **options))  # pyright: ignore[reportArgumentType]
        return list(self._iter_zero_shot(inputs, candidate_labels, **options))

    def _iter_zero_shot(
        self,
        inputs: Iterable[str],
        candidate_labels: str | Sequence[str],
        *,
        window: int = WINDOW,
        hypothesis_template: str = TEMPLATE,
        multi_label: bool = False,
        **read: Unpack[ReadOptions],
    ) -> Iterator[dict[str, Any]]:
        """`zero_shot`, window by window."""
        self.need("text-classification")
        task = ZeroShot(self.labels, candidate_labels, hypothesis_template, multi_label)
        limits = self.pipeline.limits(**read)
        count = len(task.candidates)

        def answers() -> Iterator[dict[str, Any]]:
            asked, shown = tee(_single(many(inputs)))
            pairs = (pair for text in asked for pair in task.pairs(text))
            rows = self.pipeline.stream(pairs, limits, window=window * count)
            for text in shown:
                yield task.answer(text, np.stack([next(rows) for _ in range(count)]))

        return answers()


def _single(items: Iterable[Any]) -> Iterator[str]:
    for index, item in enumerate(items):
        text, pair = split(item, index)
        if pair is not None:
            raise InputError(f"text {index} is a pair, but zero-shot classification reads single texts")
        yield text
