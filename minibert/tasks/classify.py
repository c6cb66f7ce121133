"""Text classification: single label, multi-label and regression, in the shapes of transformers' pipeline."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np

from minibert.errors import InputError
from minibert.format.schema import Task

#: What turns a row of logits into scores.
ScoreFunction: TypeAlias = Literal["softmax", "sigmoid", "none"]
#: One label with its score: {"label": str, "score": float}.
Label: TypeAlias = "dict[str, Any]"


class Top(Enum):
    """What `top_k` is when it is not given: None already means "all labels"."""

    BEST = "best"

    def __repr__(self) -> str:
        return self.value


BEST: Final = Top.BEST
TopK: TypeAlias = "int | Literal[Top.BEST] | None"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax of one row of logits, [labels] to [labels]."""
    e = np.exp(logits - logits.max())
    return e / e.sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function of each logit; the exponent is never positive, so nothing overflows."""
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, e) / (1 + e)


class Classifier:
    """Logits to labels.

    Args:
        task: the model's task; its problem type chooses the score function. A row has one logit for each label.
    """

    def __init__(self, task: Task) -> None:
        self.labels = task.labels
        self.function: ScoreFunction = default_function(task)

    def options(self, function: str | None, top_k: TopK) -> tuple[ScoreFunction, TopK]:
        """Options of `answer`, checked; the model's own score function for None.

        Raises:
            InputError: if there is no such score function, or `top_k` is below 1.
        """
        if not (top_k is BEST or top_k is None) and (
            isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1
        ):
            raise InputError(f"top_k must be at least 1, or None for all labels, got {top_k!r}")
        if function is None or function == "default":
            return self.function, top_k
        if function not in get_args(ScoreFunction):
            raise InputError(f'function_to_apply must be "softmax", "sigmoid" or "none", got {function!r}')
        return cast(ScoreFunction, function), top_k

    def answer(self, row: np.ndarray, function: ScoreFunction, top_k: TopK) -> Label | list[Label]:
        """The label with the highest score, or the `top_k` best ones in a list, best first (None: all of them).

        Works row by row, so that scores do not depend on the batch. Equal scores keep the order of the labels.

        Args:
            row: float32 [labels], logits.
            function: what makes scores of them.
            top_k: BEST for one label that is no list.
        """
        if function == "softmax":
            row = softmax(row)
        elif function == "sigmoid":
            row = sigmoid(row)
        if top_k is BEST:
            index = int(row.argmax())
            return {"label": self.labels[index], "score": float(row[index])}
        order = np.argsort(-row, kind="stable")[:top_k].tolist()
        return [{"label": self.labels[index], "score": float(row[index])} for index in order]


def default_function(task: Task) -> ScoreFunction:
    """The score function that transformers applies: none to a regression, sigmoid to many or one, else softmax."""
    if task.problem_type == "regression":
        return "none"
    return "sigmoid" if task.problem_type == "multi_label" or len(task.labels) == 1 else "softmax"
