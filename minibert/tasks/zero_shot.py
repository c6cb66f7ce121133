"""Zero-shot classification by natural language inference (Yin et al. 2019, arXiv 1909.00161).

A text is the premise; each candidate label, put into a template, is a hypothesis; how far the text entails it is the
label's score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minibert.errors import InputError, UnsupportedError
from minibert.tasks.classify import softmax

TEMPLATE = "This example is {}."


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
        self.candidates = list(candidate_labels)
        if not self.candidates or not all(isinstance(each, str) for each in self.candidates):
            raise InputError("candidate_labels must be one label at least, each a str")
        try:
            self._hypotheses = [hypothesis_template.format(label) for label in self.candidates]
        except (IndexError, KeyError, ValueError) as error:
            raise InputError(f"hypothesis_template {hypothesis_template!r} cannot be filled: {error!r}") from None
        if self._hypotheses[0] == hypothesis_template:
            raise InputError(f"hypothesis_template {hypothesis_template!r} has no {{}} where the label goes")
        self._independent = multi_label or len(self.candidates) == 1

    def pairs(self, text: str) -> list[tuple[str, str]]:
        """Premise and hypothesis for each candidate."""
        return [(text, hypothesis) for hypothesis in self._hypotheses]

    def answer(self, text: str, rows: np.ndarray) -> dict[str, Any]:
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
