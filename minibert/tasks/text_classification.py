"""Text classification: single label, multi-label and regression, in the shapes of transformers' pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, cast, get_args, overload

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.format.schema import Task
from minibert.reading import ReadOptions
from minibert.tasks.base import BaseModel
from minibert.tasks.scores import sigmoid, softmax
from minibert.text.inputs import Text, is_one, many, split

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: What turns a row of logits into scores.
ScoreFunction: TypeAlias = Literal["softmax", "sigmoid", "none"]


class Label(TypedDict):
    """One label with its score."""

    label: str
    score: float


class Top(Enum):
    """What `top_k` is when it is not given: None already means "all labels"."""

    BEST = "best"

    def __repr__(self) -> str:
        return self.value


BEST: Final = Top.BEST
TopK: TypeAlias = "int | Literal[Top.BEST] | None"


class Classifier:
    """Logits to labels.

    Args:
        task: the model's task; its problem type chooses the score function. A row has one logit for each label.
    """

    def __init__(self, task: Task) -> None:
        self.labels: tuple[str, ...] = task.labels
        self.function: ScoreFunction = default_function(task)
        self._other, self._below = task.other, task.other_below

    def options(
        self, function: str | None, top_k: TopK, return_all_scores: bool | None = None
    ) -> tuple[ScoreFunction, TopK]:
        """Options of `answer`, checked; the model's own score function for None.

        Args:
            function: its name.
            top_k: how many labels.
            return_all_scores: what transformers had before there was `top_k`: True for all labels.

        Raises:
            InputError: if there is no such score function, `top_k` is below 1, or both it and `return_all_scores` are
                given.
        """
        if return_all_scores is not None and options.flag("return_all_scores", return_all_scores):
            if top_k is not BEST:
                raise InputError("give either top_k or return_all_scores")
            top_k = None
        if not (top_k is BEST or top_k is None):
            top_k = options.integer("top_k", top_k)
        if function is None:
            return self.function, top_k
        function = options.choice("function_to_apply", function, (*get_args(ScoreFunction), "default"))
        return self.function if function == "default" else cast(ScoreFunction, function), top_k

    def answer(self, row: np.ndarray, function: ScoreFunction, top_k: TopK) -> Label | list[Label]:
        """The label with the highest score, or the `top_k` best ones in a list, best first (None: all of them).

        A text that no label fits (`other_below` of the task) gets the name for that, and what the best label lacks of 1
        as its score, unless `top_k` asks for labels. Works row by row, so that scores do not depend on the batch. Equal
        scores keep the order of the labels.

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
            if row[index] < self._below and function != "none":
                return {"label": self._other, "score": 1 - float(row[index])}
            return {"label": self.labels[index], "score": float(row[index])}
        order = np.argsort(-row, kind="stable")[:top_k].tolist()
        return [{"label": self.labels[index], "score": float(row[index])} for index in order]


def default_function(task: Task) -> ScoreFunction:
    """The score function that transformers applies: none to a regression, sigmoid to many or one, else softmax."""
    if task.problem_type == "regression":
        return "none"
    return "sigmoid" if task.problem_type == "multi_label" or len(task.labels) == 1 else "softmax"


class ScoreOptions(ReadOptions, total=False):
    """Options of `classify` beside `top_k`, and of `score`."""

    function_to_apply: str | None


class ClassifyOptions(ScoreOptions, total=False):
    """Options of `classify`."""

    top_k: TopK
    return_all_scores: bool | None


class TextClassification(BaseModel, kind="text-classification", method="classify"):
    """What a text-classification model does."""

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def classify(self, inputs: Text, **options: Unpack[ScoreOptions]) -> Label: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def classify(  # pyright: ignore[reportOverlappingOverload]
        self, inputs: Text, *, top_k: int | None, **options: Unpack[ScoreOptions]
    ) -> list[Label]: ...
    @overload
    def classify(self, inputs: Iterable[Text], **options: Unpack[ScoreOptions]) -> list[Label]: ...
    @overload
    def classify(
        self, inputs: Iterable[Text], *, top_k: int | None, **options: Unpack[ScoreOptions]
    ) -> list[list[Label]]: ...
    def classify(
        self,
        inputs: Any,
        *,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        return_all_scores: bool | None = None,
        **read: Unpack[ReadOptions],
    ) -> Any:
        """Labels of one text or many.

        Args:
            inputs: one text gives one result, many give a list. A text is a `str`; a pair is a tuple
                `(text, text_pair)` or a mapping `{"text": ..., "text_pair": ...}`.
            top_k: if given, a result is a list of the `top_k` best labels, best first; None gives all labels.
            function_to_apply: what makes scores of logits: "softmax", "sigmoid" or "none". By default what the
                model was trained for: softmax for one label of many, sigmoid for multi-label, none for regression.
            return_all_scores: True is `top_k=None`, as transformers called it before.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            `{"label": str, "score": float}`, or with `top_k` a list of these; for many inputs a list of results.

        Raises:
            InputError: inputs are no text, or with `truncation=False` one is too long.
            UnsupportedError: the model is no classifier of texts.
        """
        classifier = self._classifier()
        function, top_k = classifier.options(function_to_apply, top_k, return_all_scores)
        limits = self.pipeline.limits(ClassifyOptions, **read)
        if is_one(inputs):
            return classifier.answer(self.pipeline.row(*split(inputs), limits), function, top_k)
        return [classifier.answer(row, function, top_k) for row in self.pipeline.rows(many(inputs), limits)]

    def _iter_classify(
        self,
        inputs: Iterable[Text],
        *,
        read_ahead: int,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        return_all_scores: bool | None = None,
        **read: Unpack[ReadOptions],
    ) -> Iterator[Any]:
        """`classify`, a few inputs ahead."""
        classifier = self._classifier()
        function, top_k = classifier.options(function_to_apply, top_k, return_all_scores)
        rows = self.pipeline.stream(many(inputs), self.pipeline.limits(ClassifyOptions, **read), read_ahead=read_ahead)
        return (classifier.answer(row, function, top_k) for row in rows)

    def _classifier(self) -> Classifier:
        self.need("text-classification")
        return Classifier(self.task)
