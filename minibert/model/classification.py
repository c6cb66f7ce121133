"""Text classification: one text or pair, labels with scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

from minibert.model.base import BaseModel, ReadOptions
from minibert.tasks.classify import BEST, Classifier, Label, TopK
from minibert.text.inputs import Text, is_one, many, split

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ClassifyOptions(ReadOptions, total=False):
    """Options of `classify` beside `top_k`."""

    function_to_apply: str | None


class Classification(BaseModel):
    """What a text-classification model does."""

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def classify(self, inputs: Text, **options: Unpack[ClassifyOptions]) -> Label: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def classify(  # pyright: ignore[reportOverlappingOverload]
        self, inputs: Text, *, top_k: int | None, **options: Unpack[ClassifyOptions]
    ) -> list[Label]: ...
    @overload
    def classify(self, inputs: Iterable[Text], **options: Unpack[ClassifyOptions]) -> list[Label]: ...
    @overload
    def classify(
        self, inputs: Iterable[Text], *, top_k: int | None, **options: Unpack[ClassifyOptions]
    ) -> list[list[Label]]: ...
    def classify(
        self,
        inputs: Any,
        *,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> Any:
        """Labels of one text or many.

        Args:
            inputs: one text gives one result, many give a list. A text is a `str`; a pair is a tuple
                `(text, text_pair)` or a mapping `{"text": ..., "text_pair": ...}`.
            top_k: if given, a result is a list of the `top_k` best labels, best first; None gives all labels.
            function_to_apply: what makes scores of logits: "softmax", "sigmoid" or "none". By default what the
                model was trained for: softmax for one label of many, sigmoid for multi-label, none for regression.
            read: how texts are cut and batched, see `ReadOptions`.

        Returns:
            `{"label": str, "score": float}`, or with `top_k` a list of these; for many inputs a list of results.

        Raises:
            InputError: inputs are no text, or with `truncation=False` one is too long.
            UnsupportedError: the model is no classifier of texts.
        """
        classifier = self._classifier()
        function, top_k = classifier.options(function_to_apply, top_k)
        limits = self.pipeline.limits(**read)
        if is_one(inputs):
            return classifier.answer(self.pipeline.row(*split(inputs), limits), function, top_k)
        return [classifier.answer(row, function, top_k) for row in self.pipeline.rows(many(inputs), limits)]

    def _iter_classify(
        self,
        inputs: Iterable[Text],
        *,
        window: int,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> Iterator[Any]:
        """`classify`, window by window."""
        classifier = self._classifier()
        function, top_k = classifier.options(function_to_apply, top_k)
        rows = self.pipeline.stream(many(inputs), self.pipeline.limits(**read), window=window)
        return (classifier.answer(row, function, top_k) for row in rows)

    def _classifier(self) -> Classifier:
        self.need("text-classification")
        return Classifier(self.task)
