"""Zero-shot classification by natural language inference (Yin et al. 2019, arXiv 1909.00161).

A text is the premise; each candidate label, put into a template, is a hypothesis; how far the text entails it is the
label's score.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np

from minibert import options
from minibert.errors import InputError, UnsupportedError
from minibert.reading import ReadOptions
from minibert.tasks.base import BaseModel
from minibert.tasks.scores import softmax
from minibert.text.inputs import is_one, many, single
from minibert.text.packing import READ_AHEAD

if TYPE_CHECKING:
    from typing_extensions import Unpack

TEMPLATE = "This example is {}."


class LabelScores(TypedDict):
    """A text, the candidate labels, best first, and their scores."""

    sequence: str
    labels: list[str]
    scores: list[float]


class ZeroShot:
    """Rows of NLI logits to scores of candidate labels.

    Args:
        labels: of the model; one begins with "entail".
        candidate_labels: what to choose from, as a list or separated by commas.
        hypothesis_template: a sentence with {} where the label goes.
        multi_label: whether any number of labels may be true: then each is entailment against contradiction by
            itself; otherwise scores add up to 1.

    Raises:
        InputError: no candidates, or a template without {}.
        UnsupportedError: the model has no label for entailment.
    """

    def __init__(
        self,
        labels: Sequence[str],
        candidate_labels: str | Sequence[str],
        hypothesis_template: str = TEMPLATE,
        multi_label: bool = False,
    ) -> None:
        names = [label.lower() for label in labels]
        self._entailment = next((place for place, name in enumerate(names) if name.startswith("entail")), -1)
        if self._entailment < 0 or len(labels) < 2:
            raise UnsupportedError(
                f"zero-shot needs a model of natural language inference, with a label 'entailment'; this one has "
                f"{', '.join(labels[:8])}"
            )
        # Where no label is called so: the first or the last, on the other side of "neutral".
        opposite = len(labels) - 1 if self._entailment == 0 else 0
        self._contradiction = next((p for p, name in enumerate(names) if name.startswith("contra")), opposite)
        if isinstance(candidate_labels, str):
            candidate_labels = [part.strip() for part in candidate_labels.split(",") if part.strip()]
        self.candidates: list[str] = options.words("candidate_labels", candidate_labels)
        if not self.candidates:
            raise InputError("candidate_labels must be one label at least")
        if not isinstance(hypothesis_template, str):
            raise InputError(f"hypothesis_template must be str, got {type(hypothesis_template).__name__}")
        try:
            self._hypotheses = [hypothesis_template.format(label) for label in self.candidates]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"hypothesis_template {hypothesis_template!r} cannot be filled: {error!r}") from None
        if self._hypotheses[0] == hypothesis_template:
            raise InputError(f"hypothesis_template {hypothesis_template!r} has no {{}} where the label goes")
        self._independent = options.flag("multi_label", multi_label) or len(self.candidates) == 1

    def pairs(self, text: str) -> list[tuple[str, str]]:
        """Premise and hypothesis for each candidate."""
        return [(text, hypothesis) for hypothesis in self._hypotheses]

    def answer(self, text: str, rows: np.ndarray) -> LabelScores:
        """Candidates by falling score.

        Args:
            text: the premise.
            rows: float32 [candidates, labels], logits.

        Returns:
            {"sequence": str, "labels": list[str], "scores": list[float]}.
        """
        if self._independent:
            chosen = rows[:, [self._contradiction, self._entailment]]
            scores = np.array([softmax(row)[1] for row in chosen])
        else:
            scores = softmax(rows[:, self._entailment])
        order = np.argsort(-scores, kind="stable")
        return {
            "sequence": text,
            "labels": [self.candidates[place] for place in order],
            "scores": scores[order].tolist(),
        }


class ZeroShotOptions(ReadOptions, total=False):
    """Options of `zero_shot` beside the labels."""

    hypothesis_template: str
    multi_label: bool


class ZeroShotClassification(BaseModel):
    """What a text-classification model does that was trained for natural language inference."""

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def zero_shot(  # pyright: ignore[reportOverlappingOverload]
        self, inputs: str, candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> LabelScores: ...
    @overload
    def zero_shot(
        self, inputs: Iterable[str], candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> list[LabelScores]: ...
    def zero_shot(
        self, inputs: Any, candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> LabelScores | list[LabelScores]:
        """Which of some labels fit one text or many, though the model was not trained on these labels.

        Args:
            inputs: one text gives one result, many give a list.
            candidate_labels: what to choose from, as a list or separated by commas.
            options: `hypothesis_template`: a sentence with {} where the label goes (default "This example is {}.").
                `multi_label`: whether any number of labels may be true (default False: scores add up to 1). And how
                texts are cut and batched, see `minibert.reading.Limits`: the text is cut, never the label.

        Returns:
            `{"sequence": str, "labels": list[str], "scores": list[float]}`, best first.

        Raises:
            InputError: inputs are no texts, no labels, one that leaves no room for a text, or a template without {}.
            UnsupportedError: the model has no label "entailment".
        """
        if is_one(inputs):
            return next(self._iter_zero_shot([inputs], candidate_labels, **options))
        return list(self._iter_zero_shot(inputs, candidate_labels, **options))

    def _iter_zero_shot(
        self,
        inputs: Iterable[str],
        candidate_labels: str | Sequence[str],
        *,
        read_ahead: int = READ_AHEAD,
        **options: Unpack[ZeroShotOptions],
    ) -> Iterator[LabelScores]:
        """`zero_shot`, a few inputs ahead."""
        self.need("text-classification")
        own, limits = self.pipeline.options(ZeroShotOptions, options)
        task = ZeroShot(self.labels, candidate_labels, **own)
        # A label that lost its end would be another label.
        limits = limits._replace(only_first=True)
        texts = many(inputs)
        count = len(task.candidates)

        def answers() -> Iterator[LabelScores]:
            asked, shown = tee(single(item, index, "zero-shot classification") for index, item in enumerate(texts))
            pairs = (pair for text in asked for pair in task.pairs(text))
            rows = self.pipeline.stream(pairs, limits, read_ahead=min(read_ahead * count, sys.maxsize))
            for text in shown:
                yield task.answer(text, np.stack([next(rows) for _ in range(count)]))
            next(rows, None)  # raises the error that ended the texts, if one did

        return answers()
